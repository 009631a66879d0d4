"""The user's file as labelled texts: a table, JSON or Parquet. Every error names the file and the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.tasks.columns import BadFile, TextColumn, shown
from lab.tasks.examples import Examples
from lab.tasks.json_rows import json_rows
from lab.tasks.labels import Labelled, Written, kind_of, numbered, written_label
from lab.tasks.parquet_rows import parquet_rows
from lab.tasks.tables import table_rows

READERS = {
    ".csv": table_rows,
    ".tsv": table_rows,
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".json": json_rows,
    ".parquet": parquet_rows,
}
SUFFIXES = tuple(READERS)


def read_examples(path: Path, text_column: TextColumn = None, label_column: str | None = None) -> Examples:
    """The examples of one file, their labels numbered; see `read_labelled` and `lab.tasks.labels.numbered`."""
    (examples,) = numbered({"train": read_labelled(path, text_column, label_column)})[0].values()
    return examples


_BEGINNINGS = (
    (b"PAR1", "it is a Parquet file: call it .parquet"),
    (b"PK", "it is a ZIP archive, as Excel's workbooks are: export the table as CSV (UTF-8)"),
    (b"\x1f\x8b", "it is compressed: gunzip it"),
    (b"\xd0\xcf\x11\xe0", "it is a file of Microsoft Office: export the table as CSV (UTF-8)"),
    (b"\xff\xfe", "it is UTF-16: save it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16: save it as UTF-8"),
    (b"SQLite format 3", "it is a database: export the table as CSV"),
)


def _instead(path: Path) -> str:
    """What to do with a file that is no text, by its first bytes."""
    with path.open("rb") as file:
        first = file.read(16)
    return next((told for magic, told in _BEGINNINGS if first.startswith(magic)), "convert it to UTF-8")


def read_labelled(path: Path, text_column: TextColumn = None, label_column: str | None = None) -> Labelled:
    """The texts of a .csv, .tsv, .jsonl, .json or .parquet file with their labels as written.

    Columns are found by their names (`lab.tasks.columns`): `sentence` or `text`, or `sentence1` and `sentence2`, and
    `label`. Other columns are ignored.

    Args:
        path: the file.
        text_column: the column of the texts, or two for pairs; None: found.
        label_column: the column of the labels; None: found.

    Raises:
        BadFile: unreadable, empty, without the columns, or with a row that has no text or no admissible label.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise BadFile(f"{path}: unknown suffix {path.suffix!r}; expected one of {SUFFIXES}.")
    try:
        columns, rows = READERS[suffix](path, text_column, label_column)
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); {_instead(path)}.") from error
    if not rows:
        raise BadFile(f"{path} has no rows below its header.")
    texts: list[list[str]] = [[] for _ in columns.texts]
    labels: list[Written] = []
    kinds: dict[str, str] = {}
    for place, row in rows:
        for column, held in zip(columns.texts, texts, strict=True):
            held.append(_text(row.get(column), column, place))
        label = written_label(row.get(columns.label), place)
        kind = kind_of(label)
        if kinds.setdefault(kind, f"{place} ({shown(label)})") and len(kinds) > 1:
            other = next(seen for name, seen in kinds.items() if name != kind)
            raise BadFile(f"{place}: the label is {shown(label)}, {kind}, unlike {other}; write all labels alike.")
        labels.append(label)
    pairs = tuple(texts[1]) if len(texts) > 1 else None
    return Labelled(str(path), tuple(texts[0]), tuple(labels), pairs, (*columns.texts, columns.label))


LONGEST_TEXT = 1_000_000
"""Characters of one text: a third of "War and Peace" in a single row is a column that is no text, and takes a tokenizer
seconds."""


def _text(text: Any, column: str, place: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise BadFile(f"{place}: {column} is {shown(text)}; expected a text that is not blank.")
    if len(text) > LONGEST_TEXT:
        raise BadFile(
            f"{place}: {column} has {len(text):,} characters, beginning with {text[:40]!r}; at most {LONGEST_TEXT:,} "
            "are read. Cut it, or say which column holds the texts."
        )
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadFile(
                f"{place}: {column} holds half a character ({text[error.start]!r}, a lone surrogate) after "
                f"{text[max(0, error.start - 20) : error.start]!r}; delete it or write the whole character."
            ) from error
    return text
