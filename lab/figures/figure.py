"""A figure as a value: what table it needs, how it is drawn, what it says, where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
from pandas.api.types import is_numeric_dtype

from lab.figures.sources import Source
from lab.figures.style import LIGHT, SCREEN, Size, Theme, frame

TEXT = "text"
"""Unit of a column that holds names, not numbers."""


class TableError(ValueError):
    """A table cannot be drawn: columns missing, rows missing, or names where numbers are needed."""


class Column(NamedTuple):
    """What a column holds, and its unit: a physical unit, "1" for a pure number, "count", or `TEXT`."""

    description: str
    unit: str


@dataclass(frozen=True)
class Figure:
    """A pure function from a tidy table to a plotly figure, with everything a paper needs to print it.

    Args:
        name: of the figure: file names, the command line, the address in the explorer.
        title: one line.
        columns: what the table must have; other columns are ignored.
        build: draws a checked table in a theme; called through `draw`.
        summary: the table's answer, few rows, for a paper's table; column names carry the unit.
        describe: the answer in one or two sentences: alternative text for those who cannot see the figure.
        caption: what is drawn, for a paper.
        reading: how to read it, what would be surprising, what it does not show.
        source: papers that introduced it, the first one first.
        example: a small made-up table of the right form, for tests and documentation.
        table: name of the table of a record that holds these columns; default: the figure's name.
        optional: columns that are used where they are there.
    """

    name: str
    title: str
    columns: Mapping[str, Column]
    build: Callable[[pd.DataFrame, Theme], go.Figure] = field(repr=False)
    summary: Callable[[pd.DataFrame], pd.DataFrame] = field(repr=False)
    describe: Callable[[pd.DataFrame], str] = field(repr=False)
    caption: str
    reading: str
    source: tuple[Source, ...]
    example: Callable[[], pd.DataFrame] = field(repr=False)
    table: str = ""
    optional: Mapping[str, Column] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", self.table or self.name)

    def draw(self, table: pd.DataFrame, theme: Theme = LIGHT, size: Size = SCREEN) -> go.Figure:
        """The figure of a table; the table is not changed, nothing is read or written.

        Args:
            table: at least the `columns`, one row or more.
            theme: colours for a light or a dark page.
            size: where it is to appear; default: a page of the explorer, as wide as there is room.

        Raises:
            TableError: the table cannot be drawn.
        """
        return frame(self.build(self.checked(table), theme), theme, size)

    def summarize(self, table: pd.DataFrame) -> pd.DataFrame:
        """The answer in few rows.

        Raises:
            TableError: the table cannot be read.
        """
        return self.summary(self.checked(table))

    def alt(self, table: pd.DataFrame) -> str:
        """The answer in a sentence or two.

        Raises:
            TableError: the table cannot be read.
        """
        return self.describe(self.checked(table))

    def checked(self, table: pd.DataFrame) -> pd.DataFrame:
        """The columns of a table that this figure uses.

        Raises:
            TableError: columns or rows are missing, or a number is none.
        """
        if not isinstance(table, pd.DataFrame):
            raise TableError(f"the figure {self.name!r} got a {type(table).__name__}; expected a pandas DataFrame")
        missing = [name for name in self.columns if name not in table.columns]
        if missing:
            wanted = "; ".join(f"{name}: {self.columns[name].description}" for name in missing)
            raise TableError(
                f"the figure {self.name!r} needs the columns {', '.join(self.columns)}; missing {wanted}. "
                f"The table has: {', '.join(map(str, table.columns)) or 'none'}"
            )
        if table.empty:
            raise TableError(f"the table for the figure {self.name!r} has no rows; widen the filter or run more")
        used = {**self.columns} | {name: column for name, column in self.optional.items() if name in table.columns}
        for name, column in used.items():
            if column.unit != TEXT and not (is_numeric_dtype(table[name]) or table[name].isna().all()):
                raise TableError(
                    f"the column {name!r} of the figure {self.name!r} holds {table[name].dtype}; "
                    f"expected numbers ({column.description}, [{column.unit}])"
                )
        return table[list(used)].reset_index(drop=True)


def with_task(table: pd.DataFrame, column: str) -> pd.Series:
    """The names in a column, each with its task before it where the table has several: "imdb: by kernel"."""
    several = "task" in table and table["task"].nunique() > 1
    return table["task"] + ": " + table[column] if several else table[column]


def with_model(table: pd.DataFrame, column: str, between: str = ": ") -> pd.Series:
    """The names in a column, each with its PLM before it where the table has several: "minilm: LoRA r = 8"."""
    several = "model" in table and table["model"].nunique() > 1
    return table["model"] + between + table[column] if several else table[column]
