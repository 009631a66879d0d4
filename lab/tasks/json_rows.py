"""Rows of JSON files: one object per line, one array of objects, or one object of columns."""

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
    form = _form(path)
    rows = list(_lines(path) if form == "lines" else _entries(path))
    if not rows:
        raise BadFile(f"{path} has no rows; expected the columns {EXPECTED}.")
    place, first = rows[0]
    return find_columns(list(map(str, first)), place, text, label), rows


def _form(path: Path) -> str:
    """ "array", "lines", or "whole": one object that goes on after the first line, or is the only line and holds lists.

    pandas writes columns as objects, {"text": {"0": …}}, others as lists, {"text": […]}.
    """
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        full = (line for line in file if line.strip())
        first, second = next(full, ""), next(full, "")
    if first.lstrip().startswith("["):
        return "array"
    if not first.lstrip().startswith("{"):
        return "lines"
    try:
        opened = json.loads(first)
    except (ValueError, RecursionError):
        return "whole" if path.suffix.lower() == ".json" else "lines"
    columns = [value for value in opened.values() if isinstance(value, list | dict)]
    return "whole" if len(columns) > 1 and not second else "lines"


def _entries(path: Path) -> Iterator[Row]:
    whole = _parsed(path.read_text(encoding="utf-8-sig"), str(path), "one array of objects, or an object a line")
    for number, row in enumerate(_transposed(whole, path) if isinstance(whole, dict) else whole, start=1):
        yield _checked(row, f"{path}, entry {number}")


def _transposed(columns: dict[str, Any], path: Path) -> Iterator[dict[str, Any]]:
    """The rows of {"text": [one, two], …} or {"text": {"0": one, "1": two}, …}."""
    keys = {tuple(v) if isinstance(v, dict) else len(v) if isinstance(v, list) else None for v in columns.values()}
    if None in keys or len(keys) != 1:
        raise BadFile(
            f"{path}: one object, whose values are no columns of one length; expected {EXPECTED} in one object a line, "
            "an array of objects, or an object of such columns."
        )
    values = [v.values() if isinstance(v, dict) else v for v in columns.values()]
    return (dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True))


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
