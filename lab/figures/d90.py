"""The answers in a table of intrinsic-dimension runs: d90 with its interval, and what it is to be read against."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan

import pandas as pd

from lab.figures.definition import TableError
from lab.figures.style import count

KINDS = ("subspace", "fit", "full", "linear_probe", "random_weights", "d90", "d90_low", "d90_high")
"""What a row of the table can be; `d` of a d90 row holds the value, its `score` the line to reach."""


@dataclass(frozen=True)
class D90:
    """What one curve says.

    Attributes:
        label, model, task: of the curve.
        d90, low, high: dimension and ends of its interval; NaN: not found, open. A low end of 0 is open as well.
        line: score to reach.
        full, linear_probe, random_weights: mean scores, NaN where not measured.
        runs: subspace runs; diverged: those of them without a score.
    """

    label: str
    model: str
    task: str
    d90: float
    low: float
    high: float
    line: float
    full: float
    linear_probe: float
    random_weights: float
    runs: int
    diverged: int

    @property
    def probe_passes(self) -> bool:
        """Whether the head alone reaches the line, so that a freely trained head would hide d90."""
        return self.linear_probe >= self.line

    @property
    def references(self) -> tuple[float, float, float]:
        """The horizontal lines a curve is read against."""
        return self.full, self.line, self.linear_probe

    @property
    def text(self) -> str:
        """d90 and its interval: "812 [600, 1,100]", "812 [open, 1,100]", "> 10,000", "≤ 2", "not found".

        Without subspace runs there was no search: the baseline had learned nothing.
        """
        if not isfinite(self.d90) and not self.runs:
            return "nothing learned"
        if not isfinite(self.d90):
            return f"> {count(self.low)}" if isfinite(self.low) and self.low > 0 else "not found"
        if self.low == 0 and self.high <= self.d90:
            return f"≤ {count(self.d90)}"
        if not isfinite(self.low) and not isfinite(self.high):
            return count(self.d90)
        low, high = (count(end) if isfinite(end) and end > 0 else "open" for end in (self.low, self.high))
        return f"{count(self.d90)} [{low}, {high}]"

    @property
    def words(self) -> str:
        """`text` for a legend: "d₉₀ = 812 [600, 1,100]"."""
        return self.equation.replace("<sub>90</sub>", "₉₀")

    @property
    def equation(self) -> str:
        """`text` for a drawing: "d₉₀ = 812 [600, 1,100]", "d₉₀ > 10,000"."""
        return f"d<sub>90</sub> {'' if self.text[0] in '>≤n' else '= '}{self.text}"


def answers(table: pd.DataFrame) -> tuple[D90, ...]:
    """One answer per curve (label, model, task), in the order of the table.

    Args:
        table: columns as `lab.figures.intrinsic_dimension` declares them.

    Raises:
        TableError: two searches share label, model and task.
    """
    found = []
    for (label, model, task), group in table.groupby(["label", "model", "task"], sort=False):
        of = {kind: group[group.kind == kind] for kind in KINDS}
        if len(of["d90"]) > 1:
            raise TableError(
                f"{len(of['d90'])} searches are called {label!r} with {model} on {task}; give each its own label"
            )
        d90, low, high = (_first(of[kind].d) for kind in ("d90", "d90_low", "d90_high"))
        full, probe, null = (float(of[kind].score.mean()) for kind in ("full", "linear_probe", "random_weights"))
        runs = of["subspace"]
        line, diverged = _first(of["d90"].score), int(runs.score.isna().sum())
        names, scores = (str(label), str(model), str(task)), (line, full, probe, null)
        found.append(D90(*names, d90, low, high, *scores, runs=len(runs), diverged=diverged))
    return tuple(found)


def _first(values: pd.Series) -> float:
    return float(values.iloc[0]) if len(values) else nan
