"""Which columns of the user's table hold the texts and the labels: found by their names, or asked for."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text1", "text2"),
)
TEXTS = ("sentence", "text", "review", "content", "comment", "message", "document", "utterance")
LABELS = ("label", "labels", "class", "category", "target", "sentiment", "stance")
EXPECTED = "label, and sentence (or text), or sentence1 and sentence2"
REMEDY = 'say which: load_task(…, text_column="…", label_column="…"), or --text-column and --label-column'

LONGEST_SHOWN = 200
LONGEST_NAME = 1000  # characters of a column's name

TextColumn = str | tuple[str, str] | None


class BadFile(ValueError):
    """A data file that cannot be read as a task; the message names file, line and remedy."""


@dataclass(frozen=True)
class Columns:
    """The columns of a task.

    Attributes:
        texts: the sentence's column, or those of a pair.
        label: the label's column.
    """

    texts: tuple[str, ...]
    label: str


def shown(value: object) -> str:
    """A value as a message shows it: the beginning of a long one."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def find_columns(names: Sequence[str], place: str, text: TextColumn = None, label: str | None = None) -> Columns:
    """The columns among `names`.

    Known names are found whatever their case, a pair before a single sentence; so are names that are asked for, where
    none is written alike. In a table of two columns the one that is left over is the other role's.

    Args:
        names: the columns that there are.
        place: where, for messages.
        text: the texts' column, or two of them for pairs; None: found.
        label: the labels' column; None: found.

    Raises:
        BadFile: a name of these twice, an asked-for column that is not there or has two roles, or none or several that
            could be meant.
    """
    asked = () if text is None else (text,) if isinstance(text, str) else tuple(text)
    asked = tuple(_asked(name, names, place) for name in asked)
    label = None if label is None else _asked(label, names, place)
    roles = (*asked, *([] if label is None else [label]))
    doubled = next((name for name in roles if roles.count(name) > 1), None)
    if doubled is not None:
        raise BadFile(f"{place}: the column {doubled!r} is asked for twice; the texts and the label need one each.")
    texts = asked or _texts(names)
    labels = [label] if label is not None else _labels([name for name in names if name not in texts])
    if len(names) == 2 and len(texts) + len(labels) == 1:
        (rest,) = (name for name in names if name not in (*texts, *labels))
        texts, labels = (texts, [rest]) if texts else ((rest,), labels)
    if not texts or len(labels) != 1 or labels[0] in texts:
        raise BadFile(
            f"{place}: the columns are {shown(sorted(names))}; expected {EXPECTED}. Rename them, or {REMEDY}."
        )
    twice = next((name for name in (*texts, labels[0]) if names.count(name) > 1), None)
    if twice is not None:
        raise BadFile(f"{place}: the column {twice!r} occurs twice; rename one of the two.")
    long = next((name for name in (*texts, labels[0]) if len(name) > LONGEST_NAME), None)
    if long is not None:
        raise BadFile(
            f"{place}: a column has a name of {len(long):,} characters, beginning with {long[:40]!r}; expected "
            f"{EXPECTED}."
        )
    return Columns(tuple(texts), labels[0])


def _asked(name: str, names: Sequence[str], place: str) -> str:
    """The column of this name; else the only one that differs from it in case, spaces around it or composed letters."""
    alike = [name] if name in names else [other for other in names if _plain(other) == _plain(name)]
    if len(alike) != 1:
        near = get_close_matches(name, names, n=1)
        meant = f"did you mean {near[0]!r}? The" if near else "the"
        raise BadFile(f"{place}: there is no column {name!r}; {meant} columns are {shown(list(names))}.")
    return alike[0]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _texts(names: Sequence[str]) -> tuple[str, ...]:
    """The first known pair, else sentence or text, else the only other name of a text."""
    by_plain = {_plain(name): name for name in names}
    for known in (*PAIRS, TEXTS[:1], TEXTS[1:2]):
        if all(name in by_plain for name in known):
            return tuple(by_plain[name] for name in known)
    others = [by_plain[name] for name in TEXTS[2:] if name in by_plain]
    return tuple(others) if len(others) == 1 else ()


def _labels(names: Sequence[str]) -> list[str]:
    """The column "label", else every name of labels: it takes exactly one."""
    by_plain = {_plain(name): name for name in names}
    if LABELS[0] in by_plain:
        return [by_plain[LABELS[0]]]
    return [by_plain[name] for name in LABELS if name in by_plain]
