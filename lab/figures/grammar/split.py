"""A table in parts, each with the name that tells it from the others."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd


def first_seen(values: Iterable[object]) -> list[str]:
    """The distinct values as text, in the order of their first row."""
    different = values.unique() if isinstance(values, pd.Series) else values
    return list(dict.fromkeys(worded(value) for value in different))


def worded(value: object, column: str = "") -> str:
    """A value as a part of a name: numbers without needless digits, a seed as "seed 3"."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"seed {text}" if column == "seed" else text


def split(table: pd.DataFrame, *columns: str) -> list[tuple[str, pd.DataFrame]]:
    """One part for each combination of values that is there, in the order of first rows.

    Its name joins the values of those columns that vary in the table, "minilm · imdb"; of the first column where none
    does. Columns that the table lacks are left out.

    Raises:
        KeyError: the table has none of the columns.
    """
    present = [column for column in columns if column in table]
    if not present:
        raise KeyError(f"the table has none of the columns {', '.join(columns)}; it has {', '.join(map(str, table))}")
    varying = [column for column in present if table[column].nunique(dropna=False) > 1] or present[:1]
    parts = []
    for values, part in table.groupby(present, sort=False, dropna=False):
        of = dict(zip(present, values if isinstance(values, tuple) else (values,), strict=True))
        parts.append((" · ".join(worded(of[column], column) for column in varying), part))
    return parts


def records(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """One part per PLM, task and seed, as far as the table names them; the whole table where it names none."""
    known = [name for name in ("model", "task", "seed") if name in table and table[name].notna().any()]
    return split(table, *known) if known else [("", table)]
