"""Tables as CSV that a spreadsheet shows and does not compute: names come from files of others."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lab.columns import Column

if TYPE_CHECKING:
    import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that Excel, LibreOffice or Google Sheets runs."""


def csv_text(table: pd.DataFrame) -> str:
    """The table as CSV; text that begins like a formula has an apostrophe before it, numbers stay as they are."""
    shown = table.apply(lambda column: column if column.dtype.kind in "biufc" else column.map(cell))
    return shown.rename(columns=cell).to_csv(index=False, lineterminator="\n")


def columns_csv(meanings: Mapping[str, Column]) -> str:
    """What the columns of a table mean, as CSV: column, type, unit, meaning.

    Example:
        >>> print(columns_csv({"sigma": Column("singular value of ΔW", "1")}), end="")
        column,type,unit,meaning
        sigma,number,1,singular value of ΔW
    """
    lines = io.StringIO()
    rows = csv.writer(lines, lineterminator="\n")
    rows.writerow(["column", "type", "unit", "meaning"])
    rows.writerows(map(cell, (name, column.type, column.unit, column.description)) for name, column in meanings.items())
    return lines.getvalue()


def cell(value: object) -> object:
    """A value as a cell shall hold it.

    Example:
        >>> cell("=1+1"), cell("-1"), cell("LoRA"), cell(-1)
        ("'=1+1", '-1', 'LoRA', -1)
    """
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
