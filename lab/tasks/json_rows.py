"""Rows of JSON files: one object per line, or one array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.tasks.columns import EXPECTED, BadFile, Columns, TextColumn, find_columns, shown

Row = tuple[str, Mapping[str, Any]]


def json_rows(path: Path, text: TextColumn, label: str | None) -> tuple[Columns, list[Row]]:
    """The columns that the first object names, and all objects with where each is: "file, line n" or "file, entry n".

    Raises:
        BadFile: not JSON, or not objects.
    """
    rows = list(_array(path) if path.suffix == ".json" and _is_array(path) else _lines(path))
    if not rows:
        raise BadFile(f"{path} has no rows; expected the columns {EXPECTED}.")
    place, first = rows[0]
    return find_columns(list(map(str, first)), place, text, label), rows


def _is_array(path: Path) -> bool:
    with path.open(encoding="utf-8-sig") as file:
        return next((line.lstrip()[0] for line in file if line.strip()), "") == "["


def _array(path: Path) -> Iterator[Row]:
    entries = _parsed(path.read_text(encoding="utf-8-sig"), str(path), "one array of objects")
    for number, row in enumerate(entries, start=1):
        yield _checked(row, f"{path}, entry {number}")


def _lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                place = f"{path}, line {number}"
                yield _checked(_parsed(line, place, "one object per line"), place)


def _parsed(text: str, place: str, expected: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, place))
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadFile(f"{place}: not JSON ({error}); expected {expected}.") from error
    except BadFile:
        raise
    except ValueError as error:  # an integer of more than 4,300 digits
        raise BadFile(f"{place}: {error}") from error


def _object(pairs: list[tuple[str, Any]], place: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadFile(f"{place}: an object has one of its names {shown(sorted(found))} twice; which value is meant?")
    return found


def _checked(row: Any, place: str) -> Row:
    if not isinstance(row, dict):
        raise BadFile(f"{place}: got a {type(row).__name__}; expected an object with {EXPECTED}.")
    return place, row
