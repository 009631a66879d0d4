"""A figure as a value: what table it needs, how it is drawn, what it says, where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from pandas.api.types import is_numeric_dtype

from lab.columns import TEXT, Column
from lab.figures.grammar import Grid
from lab.figures.grammar.split import worded
from lab.figures.sources import Source
from lab.figures.style import LIGHT, SCREEN, Size, Theme
from lab.statistics import Answer

IDENTITY = ("model", "task", "seed", "key")
"""Columns that say which record a row is from: part of every figure's table and CSV where the records have them."""


HUGE = 1e100
"""A number that no measurement gives, and of which sums and squares overflow."""


class TableError(ValueError):
    """A table cannot be drawn: columns missing, rows missing, or names where numbers are needed."""


@dataclass(frozen=True)
class Figure:
    """A pure function from a tidy table to a plotly figure, with everything a paper needs to print it.

    Rows that differ in PLM, task or seed never share a line, a row or a number unless the figure says that it averages:
    a column of `IDENTITY` is told apart by the figure where it is one of its `columns` or `optional`; where it is none
    of them, nor of `averages`, what varies is added to the column `label`. So is the record, where two of them say
    something else of the same place: their settings differ in what the table does not hold.

    Args:
        name: of the figure, and of its file: file names, the command line, the address in the explorer.
        title: one line.
        columns: what the table must have; other columns are ignored.
        build: draws a checked table in a theme; called through `draw`.
        caption: what is drawn, for a paper.
        reading: how to read it, what would be surprising, what it does not show.
        source: papers that introduced it, the first one first.
        example: a small made-up table of the right form, for tests and documentation.
        conclude: the answer in a checked table, called through `answer`: two sentences of at most `LONGEST` characters,
            and few rows for a paper's table, whose column names carry the unit.
        group: the theme it belongs to: "training", "dimension", "weights", "loss", "methods", "control".
        order: its place in the group.
        table: name of the table of a record that holds these columns; default: the figure's name.
        also: tables of the same records whose rows belong to the figure too, where a record has them: with every round
            of a measurement beside what was counted.
        optional: columns that are used where they are there.
        averages: columns of `IDENTITY` that numbers of the figure are means or correlations over, or do not depend on.
        apart: columns of `IDENTITY` that the figure tells apart itself, beside those it declares.
        label: the column that names a series.
    """

    name: str
    title: str
    columns: Mapping[str, Column]
    build: Callable[[pd.DataFrame, Theme], Grid] = field(repr=False)
    caption: str
    reading: str
    source: tuple[Source, ...]
    example: Callable[[], pd.DataFrame] = field(repr=False)
    conclude: Callable[[pd.DataFrame], Answer] = field(repr=False)
    group: str
    order: int = 0
    table: str = ""
    also: tuple[str, ...] = ()
    optional: Mapping[str, Column] = field(default_factory=dict)
    averages: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    label: str = "label"

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
        read = self.read(table)
        with self._naming(read):
            return self.build(read, theme).figure(size)

    def grid(self, table: pd.DataFrame, theme: Theme = LIGHT) -> Grid:
        """The panels and marks of a table, which become a drawing of any size; arguments and errors as of `draw`."""
        read = self.read(table)
        with self._naming(read):
            return self.build(read, theme)

    def answer(self, table: pd.DataFrame) -> Answer:
        """What the table says: two sentences at most, few rows.

        Raises:
            TableError: the table cannot be read.
        """
        read = self.read(table)
        with self._naming(read):
            return self.conclude(read)

    def summarize(self, table: pd.DataFrame) -> pd.DataFrame:
        """The answer in few rows; raises as `answer`."""
        return self.answer(table).table

    def alt(self, table: pd.DataFrame) -> str:
        """The answer in a sentence or two, for those who cannot see the figure; raises as `answer`."""
        return self.answer(table).sentence

    def checked(self, table: pd.DataFrame) -> pd.DataFrame:
        """The columns of a table that this figure uses, and those that say which record a row is from.

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
        records = [name for name in IDENTITY if name in table.columns and name not in used]
        return table[[*used, *records]].reset_index(drop=True)

    @contextmanager
    def _naming(self, table: pd.DataFrame) -> Iterator[None]:
        """Of an error in the drawing of a table, make one that names the column and the value that it comes from."""
        try:
            yield
        except TableError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            known = {**self.columns, **self.optional}
            where = next(iter(_suspects(table, known, error)), None)
            held = (
                ""
                if where is None
                else (f": the column {where[0]!r} ({known[where[0]].description}) holds {where[2]!r} in row {where[1]}")
            )
            raise TableError(
                f"the figure {self.name!r} cannot be drawn from this table{held} ({type(error).__name__}: {error})"
            ) from error

    def read(self, table: pd.DataFrame) -> pd.DataFrame:
        """The columns of a table that this figure uses, with PLM, task and seed in the label where it must tell them
        apart; raises as `checked`."""
        return self._of_records(self._told_apart(self.checked(table)))

    def _told_apart(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with PLM, task and seed in the label where one label would stand for several of them."""
        if self.label not in self.columns:
            return table
        known = {**self.columns, **self.optional}
        for column in IDENTITY[:-1]:
            if column in known or column in (*self.averages, *self.apart) or column not in table:
                continue
            if (table.groupby(self.label)[column].nunique() > 1).any():
                place = table.groupby([self.label, column], dropna=False, sort=False).ngroup()
                first = table.loc[~place.duplicated(), [self.label, column]]  # of as many as there are names, not rows
                named = [_named(label, value, column) for label, value in first.itertuples(index=False)]
                table = table.assign(**{self.label: pd.Series(named)[place].to_numpy()})
        return table

    def _of_records(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with the record in the label where rows of several records contradict each other."""
        apart = self._contradictions(table)
        if not apart.any():
            return table
        twice = pd.MultiIndex.from_frame(table.loc[apart, [self.label, "key"]])
        named = pd.MultiIndex.from_frame(table[[self.label, "key"]]).isin(twice)
        beside = table[self.label].astype(str) + " · record " + table["key"].astype(str).str[:6]
        return table.assign(**{self.label: table[self.label].where(~named, beside)})

    def _contradictions(self, table: pd.DataFrame) -> pd.Series:
        """Which rows agree with one of another record in all names and counts, and not in the numbers.

        A number that one of the two does not have is none they disagree on: one record counts, another one times.
        """
        if self.label not in self.columns or "key" not in table or table["key"].nunique() < 2:
            return pd.Series(False, index=table.index)
        known = {**self.columns, **self.optional}
        numbers = [name for name in table if name in known and known[name].type == "number" and name not in IDENTITY]
        measured = [name for name in numbers if name in self.columns]
        absent = table[measured].isna().add_suffix(" is absent")
        place = [*(name for name in table if name not in (*numbers, "key")), *absent]
        there, alike = (
            table.join(absent).groupby(columns, dropna=False, sort=False)["key"].transform("nunique")
            for columns in (place, [*place, *measured])
        )
        return alike < there

    def outdated(self, table: pd.DataFrame, keys: Sequence[str]) -> list[str]:
        """The records whose rows say something else of what a newer one is about.

        Args:
            table: as of `draw`, with the column `key`.
            keys: of its records, the newest first; those of others do not matter.

        Raises:
            TableError: the table cannot be read.
        """
        read = self._told_apart(self.checked(table))
        disputed = set(read.loc[self._contradictions(read), "key"])
        kept, left_out = list[str](), list[str]()
        for key in (key for key in keys if key in disputed):
            contradicted = self._contradictions(read[read["key"].isin([*kept, key])]).any()
            (left_out if contradicted else kept).append(key)
        return left_out


def _named(label: Any, value: Any, column: str) -> Any:
    """A label with a value of a column beside it, unless it holds it already or there is none."""
    own = "" if pd.isna(value) else worded(value, column)
    return label if pd.isna(label) or not own or own in str(label) else f"{label} · {own}"


def _suspects(table: pd.DataFrame, known: Mapping[str, Column], error: Exception) -> list[tuple[str, int, Any]]:
    """(column, row, value) of what an error may come from, likeliest first.

    Infinite and huge numbers, then names and numbers that are missing, then what the error speaks of.
    """
    cells = [(name, row, value) for name in known if name in table for row, value in enumerate(table[name])]
    numbers = [cell for cell in cells if isinstance(cell[2], (int, float))]
    huge = [cell for cell in numbers if abs(cell[2]) >= HUGE]
    missing = [cell for cell in cells if pd.isna(cell[2])]
    missing.sort(key=lambda cell: int(table[cell[0]].isna().sum()))  # where many are missing, they may be
    spoken = [cell for cell in cells if isinstance(cell[2], str) and cell[2] in (*error.args, str(error))]
    return [*spoken, *huge, *missing]
