"""One piece of a paper: a figure of a table, with its answer, and where the numbers are from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lab.columns import Column
from lab.deferred import pandas as pd
from lab.figures.definition import IDENTITY, Figure
from lab.statistics import Answer

_SAYS = ("label", "update", "run", "method", "collection", "n", "seeds [count]")


@dataclass(frozen=True, eq=False)
class Origin:
    """One record, or one command, that numbers come from.

    Attributes:
        key: of the record; "" where there is none.
        command: that makes the numbers again.
        provenance: versions, machine, seeds, as `lab.runs.observe` writes them.
    """

    key: str
    command: str
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Piece:
    """A figure of a table.

    Attributes:
        figure: what is drawn and answered.
        table: the rows it is drawn from.
        origins: where these are from.
        command: that writes this piece again.
        summary: the paper's table, where it is another one than the answer's.
        keys: of each row of the summary, what identifies the files or records it is from.
        meanings: columns of the summary -> what they mean.
        file: the name of its files, where a folder holds the figure twice; default: the figure's.
        remark: what an author says of it, before the answer; "" for nothing.
    """

    figure: Figure
    table: pd.DataFrame
    origins: Sequence[Origin]
    command: str
    summary: pd.DataFrame | None = None
    keys: Sequence[str] | None = None
    meanings: Mapping[str, Column] = field(default_factory=dict)
    file: str = ""
    remark: str = ""

    @property
    def name(self) -> str:
        """Of its files."""
        return self.file or self.figure.name

    @cached_property
    def answer(self) -> Answer:
        """What the table says; raises `TableError` where it cannot be read."""
        return self.figure.answer(self.table)

    @cached_property
    def said(self) -> Mapping[str, object]:
        """Columns of the answer whose rows all hold the same: they belong into the caption."""
        found = self.whole
        if len(found) < 2:
            return {}
        same = [name for name in found if found[name].nunique(dropna=False) == 1 and not _beside(found, name)]
        names = [name for name in same if name in (*IDENTITY, *_SAYS) or str(name).endswith("[count]")]
        return {str(name): found[name].iloc[0] for name in names if not pd.isna(found[name].iloc[0])}

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The answer without what all rows share, and without columns that hold nothing."""
        found = self.whole
        empty = [name for name in found if found[name].isna().all() and len(found)]
        return found.drop(columns=[*empty, *(name for name in found if str(name) in self.said)])

    @property
    def whole(self) -> pd.DataFrame:
        """The answer, or the summary in its place, with all of its columns."""
        return self.answer.table if self.summary is None else self.summary


def _beside(table: pd.DataFrame, name: Hashable) -> bool:
    """Whether the column to the right is the interval of this one."""
    place = [str(other) for other in table.columns].index(str(name))
    return any("±" in str(other) or "low" in str(other).split() for other in table.columns[place + 1 : place + 2])
