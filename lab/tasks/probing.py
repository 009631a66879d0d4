"""Probing and pair tasks built from the bbc-news articles, with no labelling by hand (after Conneau et al. 2018).

Every task takes its training and its validation examples from different articles.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from lab.tasks.bbc_news import REQUIREMENT, articles
from lab.tasks.examples import Examples
from lab.tasks.order import draws, shuffled, split
from lab.tasks.source import VALIDATION_FRACTION, TaskSource, assemble
from lab.tasks.task import Task

Builder = Callable[[Examples, int, int], Examples]

N_TRAIN, N_VALIDATION = 4000, 1000
"""Most examples per side; enough for a MiniLM to learn each of the tasks, small enough for two cores."""

LENGTH_BINS = ((5, 8), (9, 12), (13, 16), (17, 20), (21, 25), (26, 28))
"""Words per sentence, both ends included: the bins of SentEval's sentence-length task (Conneau et al. 2018)."""

_PARAGRAPH = re.compile(r"\n+")
_SENTENCE_END = re.compile(r"(?<=[a-z0-9][.!?])\s+(?=[A-Z])")


def paragraphs(article: str) -> list[str]:
    """The paragraphs of an article, its headline left out."""
    return [line.strip() for line in _PARAGRAPH.split(article) if line.strip()][1:]


def sentences(paragraph: str) -> list[str]:
    """Sentences of 5 to 28 words, in order; split at a full stop between a small letter or digit and a capital.

    Sentences with a quotation mark are left out: articles break quotations across sentences.
    """
    low, high = LENGTH_BINS[0][0], LENGTH_BINS[-1][1]
    parts = _SENTENCE_END.split(paragraph)
    return [part for part in parts if '"' not in part and low <= len(part.split()) <= high]


def bigram_shift(side: Examples, n: int, seed: int) -> Examples:
    """Sentences as they are (0), or with two adjacent words swapped (1); each sentence occurs once.

    The first and last word stay where they are, else a capital or a full stop inside the sentence would give it away.
    """
    pool = _shuffled_sentences(side, seed)[:n]
    words_of = [text.split() for text in pool]
    texts, labels = [], []
    for i, (words, draw) in enumerate(zip(words_of, draws(len(pool), seed, 1), strict=True)):
        j = 1 + int(draw % (len(words) - 3))
        shifted = i % 2 == 1 and words[j] != words[j + 1]
        texts.append(" ".join([*words[:j], words[j + 1], words[j], *words[j + 2 :]] if shifted else words))
        labels.append(int(shifted))
    return Examples(tuple(texts), tuple(labels))


def sentence_length(side: Examples, n: int, seed: int) -> Examples:
    """Sentences labelled by the bin of their number of words, equally many of each of the six bins."""
    binned: dict[int, list[str]] = defaultdict(list)
    for text in _shuffled_sentences(side, seed):
        count = len(text.split())
        binned[next(c for c, (low, high) in enumerate(LENGTH_BINS) if low <= count <= high)].append(text)
    each = min(n // len(LENGTH_BINS), *(len(binned[c]) for c in range(len(LENGTH_BINS))))
    rows = [(text, c) for c in range(len(LENGTH_BINS)) for text in binned[c][:each]]
    return Examples(tuple(text for text, _ in rows), tuple(c for _, c in rows))


def next_sentence(side: Examples, n: int, seed: int) -> Examples:
    """Pairs of consecutive sentences (1), or a first sentence and the second one of another article's pair (0).

    Both classes draw first and second sentences from such pairs, so that neither sentence alone tells the class.
    """
    article_of = {
        pair: article
        for article, text in enumerate(side.texts)
        for paragraph in paragraphs(text)
        for pair in zip(sentences(paragraph), sentences(paragraph)[1:], strict=False)
        if " ".join(pair) in paragraph
    }
    pairs = list(article_of)
    pairs = [pairs[i] for i in shuffled(len(pairs), seed)][:n]
    whole, cut = pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]
    rows = [(pair, 1) for pair in whole]
    for i, pair in enumerate(cut):
        following = cut[i + 1 :] + cut[:i]
        other = next(o for o in following if article_of[o] != article_of[pair])
        rows.append(((pair[0], other[1]), 0))
    return Examples(
        tuple(pair[0] for pair, _ in rows), tuple(label for _, label in rows), tuple(pair[1] for pair, _ in rows)
    )


def same_topic(side: Examples, n: int, seed: int) -> Examples:
    """Pairs of opening paragraphs of two articles of the same topic (1) or of different topics (0)."""
    openings = [(next(iter(paragraphs(text)), ""), label) for text, label in zip(side.texts, side.labels, strict=True)]
    openings = [opening for opening in openings if opening[0]]
    texts, labels, partners = [], [], []
    for i, draw in enumerate(draws(n, seed, 1)):
        text, topic = openings[i % len(openings)]
        same = i % 2
        others = [o for o, t in openings if (t == topic) == bool(same) and o != text]
        texts.append(text)
        partners.append(others[int(draw % len(others))])
        labels.append(same)
    return Examples(tuple(texts), tuple(labels), tuple(partners))


def _shuffled_sentences(side: Examples, seed: int) -> list[str]:
    """Every different sentence of the articles, in a seeded order."""
    found = dict.fromkeys(s for text in side.texts for paragraph in paragraphs(text) for s in sentences(paragraph))
    pool = list(found)
    return [pool[i] for i in shuffled(len(pool), seed)]


def load(name: str, build: Builder, labels: tuple[str, ...], seed: int) -> Task:
    """The task built from a stratified split of the articles; validation texts seen in training are dropped."""
    train_articles, validation_articles = split(articles(), VALIDATION_FRACTION, seed)
    train = build(train_articles, N_TRAIN, 2 * seed)
    validation = build(validation_articles, N_VALIDATION, 2 * seed + 1)
    seen = set(train.keys)
    validation = validation.take(i for i, key in enumerate(validation.keys) if key not in seen)
    return assemble(name, train, validation, labels=labels)


BIGRAM_SHIFT = TaskSource(
    "bigram-shift",
    "are two adjacent words swapped, 2 classes",
    REQUIREMENT,
    partial(load, "bigram-shift", bigram_shift, ("intact", "swapped")),
)
SENTENCE_LENGTH = TaskSource(
    "sentence-length",
    "number of words in six bins",
    REQUIREMENT,
    partial(load, "sentence-length", sentence_length, tuple(f"{low}–{high} words" for low, high in LENGTH_BINS)),
)
NEXT_SENTENCE = TaskSource(
    "next-sentence",
    "does the second sentence follow the first, 2 classes",
    REQUIREMENT,
    partial(load, "next-sentence", next_sentence, ("apart", "consecutive")),
)
SAME_TOPIC = TaskSource(
    "same-topic",
    "are two articles of the same topic, 2 classes",
    REQUIREMENT,
    partial(load, "same-topic", same_topic, ("different", "same")),
)
