"""Rows of a CSV, TSV or JSON-lines file as `Examples`; every error names the file and the line."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.tasks.examples import Examples, Label

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")
COLUMNS = "label, and sentence (or text), or sentence1 and sentence2"
LARGEST_LABEL = 1e9
INTEGER = re.compile(r"[+-]?\d+")


class BadFile(ValueError):
    """A data file that cannot be read as a task; the message names file, line and remedy."""


@contextlib.contextmanager
def allow_long_fields() -> Iterator[None]:
    """Lift csv's limit of 131,072 characters per field; reviews and articles can be longer."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_examples(path: Path) -> Examples:
    """The examples of a .csv, .tsv, .jsonl or .json (JSON lines) file.

    Columns: `sentence` or `text`, or `sentence1` and `sentence2`; `label`, integers from 0 for classes, floats for
    regression. Other columns are ignored. One float among integers makes all of them floats.

    Raises:
        BadFile: unreadable, empty, without the columns, or with a row that has no text or no admissible label.
    """
    if path.suffix not in SUFFIXES:
        raise BadFile(f"{path}: unknown suffix {path.suffix!r}; expected one of {SUFFIXES}.")
    texts: list[str] = []
    pairs: list[str] = []
    labels: list[Label] = []
    columns: tuple[str, ...] | None = None
    for place, row in _rows(path):
        columns = _sentence_columns(row, place) if columns is None else columns
        sentences = [_text(row, column, place) for column in columns]
        texts.append(sentences[0])
        pairs.extend(sentences[1:])
        labels.append(_label(row, place))
    if not texts:
        raise BadFile(f"{path} has no rows; expected the columns {COLUMNS}.")
    if any(isinstance(label, float) for label in labels):
        labels = [float(label) for label in labels]
    try:
        return Examples(tuple(texts), tuple(labels), tuple(pairs) if pairs else None)
    except (ValueError, TypeError) as error:
        raise BadFile(f"{path}: {error}") from error


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where, row) pairs; where is "file, line n"."""
    try:
        yield from _table_rows(path) if path.suffix in DELIMITERS else _json_rows(path)
    except UnicodeDecodeError as error:
        raise BadFile(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); convert it to UTF-8."
        ) from error
    except csv.Error as error:
        raise BadFile(f"{path} is not a readable table ({error}); expected a header line with {COLUMNS}.") from error


def _table_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with allow_long_fields(), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=DELIMITERS[path.suffix], strict=True)
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise BadFile(
                    f"{place}: not as many fields as the header has; quote fields that contain the delimiter."
                )
            yield place, row


def _json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise BadFile(f"{place}: not JSON ({error}); expected one object per line.") from error
            except ValueError as error:  # an integer of more than 4,300 digits
                raise BadFile(f"{place}: {error}") from error
            if not isinstance(row, dict):
                raise BadFile(f"{place}: got a {type(row).__name__}; expected an object with {COLUMNS}.")
            yield place, row


def _sentence_columns(row: Mapping[str, Any], place: str) -> tuple[str, ...]:
    choices = (("sentence",), ("sentence1", "sentence2"), ("text",))
    found = next((columns for columns in choices if all(column in row for column in columns)), None)
    if found is None or "label" not in row:
        raise BadFile(f"{place}: the columns are {sorted(map(str, row))}; expected {COLUMNS}. Rename them.")
    return found


def _text(row: Mapping[str, Any], column: str, place: str) -> str:
    text = row.get(column)
    if not isinstance(text, str) or not text.strip():
        raise BadFile(f"{place}: {column} is {text!r}; expected a text that is not blank.")
    return text


def _label(row: Mapping[str, Any], place: str) -> Label:
    """The label; a table's text "1" is an integer, "1.0" a float."""
    label = row.get("label")
    if isinstance(label, str):
        label = _number(label.strip())
    if isinstance(label, bool) or not isinstance(label, int | float):
        raise BadFile(
            f"{place}: the label is {row.get('label')!r}; expected an integer class 0, 1, … or a float (regression). "
            "Number the classes."
        )
    if not abs(label) < LARGEST_LABEL:  # also true of NaN
        raise BadFile(f"{place}: the label is {str(label)[:20]}; expected a finite number below {LARGEST_LABEL:g}.")
    return label


def _number(text: str) -> Label | None:
    try:
        return int(text) if INTEGER.fullmatch(text) else float(text)
    except ValueError:
        return None
