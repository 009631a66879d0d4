"""Rows of comma- and tab-separated tables: a quotation mark that swallows rows is an error, not a text."""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.tasks.columns import EXPECTED, BadFile, Columns, TextColumn, find_columns

DELIMITERS = (",", ";", "\t", "|")
Row = tuple[str, Mapping[str, Any]]


@contextlib.contextmanager
def allow_long_fields() -> Iterator[None]:
    """Lift csv's limit of 131,072 characters per field; reviews and articles can be longer."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def table_rows(path: Path, text: TextColumn, label: str | None) -> tuple[Columns, list[Row]]:
    """The columns of a table, and its rows with where each begins: "file, line n".

    A .tsv file has tabs and no quotations (as GLUE's): a quotation mark is a character like any other. A .csv file has
    quotations (RFC 4180), and whichever of comma, semicolon, tab and bar its header shows.

    Raises:
        BadFile: no header, another number of fields than the header has, a quotation that does not close, or closes
            only after other rows.
    """
    tsv = path.suffix.lower() == ".tsv"
    with allow_long_fields(), path.open(encoding="utf-8-sig", newline="") as file:
        lines = _Lines(file)
        delimiter = "\t" if tsv else _delimiter(path, text, label)
        quoting: Any = csv.QUOTE_NONE if tsv else csv.QUOTE_MINIMAL
        reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
        records = _records(path, reader, lines)
        try:
            _, header, _ = next(records)
        except StopIteration:
            raise BadFile(f"{path} has no rows; expected the columns {EXPECTED}.") from None
        if tsv and len(header) == 1:
            raise BadFile(f"{path}, line 1: no tab in the header {header[0][:60]!r}; name a file with commas .csv.")
        columns = find_columns(header, f"{path}, line 1", text, label)
        rows: list[Row] = []
        spanning: list[tuple[int, list[str]]] = []
        at = header.index(columns.label)
        alone: set[str] = set()
        for number, fields, own in records:
            if len(fields) != len(header):
                raise BadFile(
                    f"{path}, line {number}: not as many fields as the header has ({len(fields)}, not {len(header)})"
                    f"{'' if len(own) == 1 else f'; the quotation there closes in line {number + len(own) - 1}'}. "
                    f"{'A text in a .tsv file has no tab.' if tsv else 'Quote fields that contain the delimiter.'}"
                )
            if len(own) > 1:
                spanning.append((number, own))
            else:
                alone.add(fields[at].strip())
            rows.append((f"{path}, line {number}", dict(zip(header, fields, strict=True))))
    for number, own in spanning:
        _refuse_swallowed(path, number, own, header, columns, delimiter, alone)
    return columns, rows


class _Lines:
    """The lines of a file, and those read since they were last taken."""

    def __init__(self, file: Iterator[str]):
        self.file, self.read = file, list[str]()

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.read.append(line)
            yield line

    def taken(self) -> list[str]:
        read, self.read = self.read, []
        return read


def _records(path: Path, reader: Any, lines: _Lines) -> Iterator[tuple[int, list[str], list[str]]]:
    """(number of its first line, fields, lines) of every record that is not blank."""
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise BadFile(
                    f"{path}, line {start}: a quotation opens here and never closes. Write a quotation mark inside a "
                    'text twice (""), or save the file as .jsonl.'
                ) from error
            raise BadFile(
                f"{path}, line {start}: not a readable table ({error}). In a quoted field write a quotation mark twice "
                '(""), or save the file as .jsonl.'
            ) from error
        own = lines.taken()
        if fields:
            yield start, fields, own


def _delimiter(path: Path, text: TextColumn, label: str | None) -> str:
    """The delimiter under which the header names a task's columns, else the one that gives most columns."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next((line for line in file if line.strip()), "")
    named = {d: next(csv.reader([header], delimiter=d), []) for d in DELIMITERS}
    for delimiter, names in named.items():  # the usual one first
        with contextlib.suppress(BadFile):
            find_columns(names, "", text, label)
            return delimiter
    return max(DELIMITERS, key=lambda d: len(named[d]))


def _refuse_swallowed(
    path: Path,
    number: int,
    own: Sequence[str],
    header: Sequence[str],
    columns: Columns,
    delimiter: str,
    labels: set[str],
) -> None:
    """Refuse a record of several lines, one of which is a row by itself: its label is where the others have theirs.

    The line that rightly holds the record's label does not count: the last one, or the first where labels come first.
    """
    at = header.index(columns.label)
    first = at < min(header.index(name) for name in columns.texts)
    for line in own[1:] if first else own[:-1]:
        fields = line.replace('"', "").strip("\r\n").split(delimiter)
        if len(fields) >= len(header) and fields[at if first else at - len(header)].strip() in labels:
            raise BadFile(
                f"{path}, line {number}: the quotation that opens here closes only in line {number + len(own) - 1}, "
                "and takes in what look like rows of their own. Write a quotation mark inside a text twice "
                '(""), or save the file as .jsonl.'
            )
