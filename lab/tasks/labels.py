"""Labels as people write them (words, true and false, ±1, counted from 1) as classes 0, 1, …; the mapping is kept."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.tasks.columns import BadFile, shown
from lab.tasks.examples import Examples, Label

Written = str | bool | int | float
LARGEST_LABEL = 1e9
LONGEST_LABEL = 500  # characters
MAX_CLASSES = 1000
"""More different words than this are no labels; the largest public text classification sets have a few hundred."""

INTEGER = re.compile(r"[+-]?\d+")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
NUMBER_LIKE = re.compile(r"[+\u2212-]?[$€£]?\d+([.,'\s]\d+)*\s?[%$€£]?")
MISSING = ("na", "n/a", "#n/a", "<na>", "null", "none", "nil", "-", "?")
"""Words that often stand where a label is missing."""
UNLABELLED = -1
"""GLUE's test sets have this in place of every label."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Texts with their labels as they are written.

    Attributes:
        name: the file, for messages.
        texts, pairs: as in `Examples`.
        labels: all words, all booleans, all integers, or numbers some of which are floats.
        columns: those of the texts, then that of the labels.
    """

    name: str
    texts: tuple[str, ...]
    labels: tuple[Written, ...]
    pairs: tuple[str, ...] | None = None
    columns: tuple[str, ...] = ()


def written_label(label: Any, place: str) -> Written:
    """One label; a table's text "1" is an integer, "1.0" a float, anything else a word.

    Raises:
        BadFile: missing, blank, not finite, too large or long, or no label at all.
    """
    value = _number(label.strip()) if isinstance(label, str) else label
    if isinstance(value, str) and len(value) > LONGEST_LABEL:
        raise BadFile(
            f"{place}: the label is {shown(value)}, {len(value):,} characters; this column is no label column."
        )
    if isinstance(value, str) and value and value.isprintable():
        return value
    if isinstance(value, bool):
        return value
    if not isinstance(value, int | float):
        raise BadFile(
            f"{place}: the label is {shown(label)}; expected a class (a word, true or false, an integer) or a float "
            "(regression)."
        )
    if not abs(value) < LARGEST_LABEL:  # also true of NaN
        raise BadFile(f"{place}: the label is {str(value)[:20]}; expected a finite number below {LARGEST_LABEL:g}.")
    return value


def kind_of(label: Written) -> str:
    """ "a word", "true or false" or "a number": labels of one file are of one kind."""
    return "a word" if isinstance(label, str) else "true or false" if isinstance(label, bool) else "a number"


def numbered(splits: Mapping[str, Labelled], names: Sequence[str] = ()) -> tuple[dict[str, Examples], tuple[str, ...]]:
    """The splits with classes 0, 1, … or float labels, and what the source writes for each class.

    Integers are numbered in their order, false before true, words as `names` has them or else alphabetically.

    Args:
        splits: "train" and others; one mapping for all.
        names: label names known for the task. Integers that index them stay as they are.

    Returns:
        The splits, and the written labels in the order of the classes: () where they are 0, 1, … already, and for
        regression.

    Raises:
        BadFile: labels of different kinds, a split without labels (all −1), or more words than labels can be.

    Warns:
        UserWarning: words that may stand for a missing label, that differ in case alone, or that are numbers in another
            spelling ("0,5", "40%"), count as classes.
    """
    _one_kind(splits)
    values = {label for split in splits.values() for label in split.labels}
    if any(isinstance(value, float) for value in values):
        return {name: _examples(split, [float(x) for x in split.labels]) for name, split in splits.items()}, ()
    order = _order(values, names)
    if len(order) > MAX_CLASSES and isinstance(order[0], str):
        first = next(iter(splits.values()))
        raise BadFile(f"{first.name}: {len(order)} different labels, e.g. {order[:3]}; this column is no label column.")
    if isinstance(order[0], str):
        _warn_of_words(next(iter(splits.values())).name, order)
    as_they_are = all(type(x) is int and x == i for i, x in enumerate(order)) or (
        isinstance(order[0], int) and not isinstance(order[0], bool) and order[0] >= 0 and order[-1] < len(names)
    )
    number = {x: x if as_they_are else i for i, x in enumerate(order)}
    examples = {name: _examples(split, [number[x] for x in split.labels]) for name, split in splits.items()}
    return examples, () if as_they_are else tuple(str(x).lower() if isinstance(x, bool) else str(x) for x in order)


def _warn_of_words(name: str, words: Sequence[str]) -> None:
    missing = [word for word in words if word.casefold() in MISSING]
    if missing and len(words) > 2:
        warnings.warn(
            f"{name}: the label {missing[0]!r} counts as a class; if it stands for a missing label, remove its rows.",
            stacklevel=4,
        )
    if all(NUMBER_LIKE.fullmatch(word) for word in words):
        warnings.warn(
            f"{name}: the labels look like numbers and are read as words ({words[0]!r}, {words[-1]!r}), each of which "
            "counts as a class; write them with a decimal point and no other sign (0.5) for a regression.",
            stacklevel=4,
        )
    alike: dict[str, str] = {}
    for word in words:
        other = alike.setdefault(unicodedata.normalize("NFKC", word).casefold(), word)
        if other != word:
            warnings.warn(
                f"{name}: the labels {other!r} and {word!r} count as two classes; write them alike if they are one.",
                stacklevel=4,
            )
            return


def _one_kind(splits: Mapping[str, Labelled]) -> None:
    kinds = {name: kind_of(split.labels[0]) for name, split in splits.items()}
    if len(set(kinds.values())) > 1:
        seen = ", ".join(f"{kinds[name]} in {split.name}" for name, split in splits.items())
        raise BadFile(f"the labels are {seen}; write them alike in all files.")
    seen_in_training = next(iter(splits.values())).labels
    for split in splits.values():
        if set(split.labels) == {UNLABELLED} and UNLABELLED not in seen_in_training:
            raise BadFile(
                f"{split.name}: every label is -1: a test set without labels cannot be used; remove the file."
            )


def _order(values: set[Written], names: Sequence[str]) -> list[Any]:
    if all(isinstance(value, str) for value in values):
        known = [name.casefold() for name in names]
        plain = {value: str(value).casefold() for value in values}
        if set(plain.values()) <= set(known) and len(set(plain.values())) == len(values):
            return sorted(values, key=lambda value: known.index(plain[value]))
    return sorted(values)  # type: ignore[type-var]


def _examples(split: Labelled, labels: Sequence[Label]) -> Examples:
    try:
        return Examples(split.texts, tuple(labels), split.pairs)
    except (ValueError, TypeError) as error:
        raise BadFile(f"{split.name}: {error}") from error


def _number(text: str) -> Label | str:
    """The number that a text is, or the text itself."""
    if INTEGER.fullmatch(text):
        return int(text) if len(text) < 20 else float(text)
    return float(text) if NUMBER.fullmatch(text) else text
