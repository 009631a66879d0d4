"""Manual templates: "{sentence} It was {mask}." turns classification into predicting a word.

Fields are {sentence} for single sentences, {sentence1} and {sentence2} for pairs, and {mask}, each exactly once. {mask}
becomes the tokenizer's mask token (BERT, RoBERTa), or its first sentinel (T5). A causal model has neither: there the
template ends before {mask}, and the word is predicted at the last position (attention_mask.sum(1) − 1).
"""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from lab.tasks.examples import Examples

T5_SENTINEL = "<extra_id_0>"


def fill(template: str, examples: Examples, tokenizer: Any, max_length: int) -> list[str]:
    """The filled templates, whose sentences are cut so that each has at most max_length tokens.

    Whole texts are tokenised, template and sentence together, since a word's tokens depend on what stands before it.
    Sentences that are too long lose text at their end, the longer of a pair first; the template is never cut.

    Args:
        template: see the module's docstring.
        examples: what to fill in.
        tokenizer: a transformers tokenizer that knows character offsets.
        max_length: most tokens per filled template, special tokens included.

    Raises:
        ValueError: wrong fields, a text that holds the mask token, or no room for text beside the template.
    """
    pattern = _with_mask(template, examples, tokenizer)
    columns = [list(examples.texts)] + ([] if examples.pairs is None else [list(examples.pairs)])
    _refuse_mask_in_text(columns, tokenizer)
    texts = [_filled(pattern, row) for row in zip(*columns, strict=True)]
    too_long = _excess(texts, tokenizer, max_length)
    while too_long:
        for i, excess in too_long.items():
            _cut([column[i] for column in columns], columns, i, excess, tokenizer, max_length)
            texts[i] = _filled(pattern, tuple(column[i] for column in columns))
        still = _excess([texts[i] for i in too_long], tokenizer, max_length)
        positions = list(too_long)
        too_long = {positions[j]: excess for j, excess in still.items()}
    return texts


def _with_mask(template: str, examples: Examples, tokenizer: Any) -> str:
    """The template with {mask} replaced, checked."""
    parsed = string.Formatter().parse(template)
    fields = [f"{name}{spec or ''}{conversion or ''}" for _, name, spec, conversion in parsed if name is not None]
    sentences = ["sentence"] if examples.pairs is None else ["sentence1", "sentence2"]
    expected = sorted([*sentences, "mask"])
    if sorted(fields) != expected:
        raise ValueError(
            f"the template {template!r} has the fields {fields}; expected each of {expected} once "
            f"for {'single sentences' if examples.pairs is None else 'sentence pairs'}."
        )
    mask = _mask_token(tokenizer)
    if mask is not None:
        return template.replace("{mask}", mask)
    head, _, tail = template.partition("{mask}")
    if any(f"{{{name}}}" in tail for name in sentences):
        raise ValueError(
            f"the template {template!r} has a sentence after {{mask}}, and this tokenizer has no mask token: a causal "
            "model would not see that sentence. Put {mask} last."
        )
    return head.rstrip()


def _mask_token(tokenizer: Any) -> str | None:
    if tokenizer.mask_token is not None:
        return tokenizer.mask_token
    return T5_SENTINEL if T5_SENTINEL in tokenizer.get_vocab() else None


def _refuse_mask_in_text(columns: list[list[str]], tokenizer: Any) -> None:
    mask = _mask_token(tokenizer)
    for column in columns:
        found = next((i for i, text in enumerate(column) if mask is not None and mask in text), None)
        if found is not None:
            raise ValueError(f"example {found} contains the mask token {mask!r}; a template needs it to itself.")


def _filled(pattern: str, sentences: tuple[str, ...]) -> str:
    names = ("sentence",) if len(sentences) == 1 else ("sentence1", "sentence2")
    return pattern.format(**dict(zip(names, sentences, strict=True)))


def _excess(texts: list[str], tokenizer: Any, max_length: int) -> dict[int, int]:
    """Position -> number of tokens above max_length, where there are any."""
    lengths = np.array([len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]])
    return {int(i): int(lengths[i]) - max_length for i in np.flatnonzero(lengths > max_length)}


def _cut(sentences: list[str], columns: list[list[str]], i: int, excess: int, tokenizer: Any, max_length: int) -> None:
    """Shorten example i by at least `excess` tokens, always from the sentence that has more left."""
    ends = [_ends(sentence, tokenizer) for sentence in sentences]
    left = [len(e) for e in ends]
    for _ in range(excess):
        left[int(np.argmax(left))] -= 1
    if min(left) < 1:
        raise _no_room(max_length, i)
    for column, sentence, end, keep in zip(columns, sentences, ends, left, strict=True):
        if keep < len(end):
            column[i] = sentence[: _end_of(end, keep)].rstrip()
            if not column[i]:
                raise _no_room(max_length, i)


def _end_of(ends: list[int], keep: int) -> int:
    """Where a sentence of at most `keep` tokens ends, never inside a character (bytes may be tokens); 0: nowhere."""
    whole = (i for i in range(keep - 1, -1, -1) if i + 1 == len(ends) or ends[i + 1] > ends[i])
    return next((ends[i] for i in whole), 0)


def _no_room(max_length: int, i: int) -> ValueError:
    return ValueError(
        f"max_length={max_length} leaves no room for the text of example {i} beside the template; raise max_length."
    )


def _ends(sentence: str, tokenizer: Any) -> list[int]:
    """Character positions where the tokens of a sentence end."""
    encoded = tokenizer(sentence, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [end for _, end in encoded["offset_mapping"]]
