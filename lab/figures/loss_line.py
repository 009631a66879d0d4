"""The loss along lines through φ."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import GOODFELLOW_2015
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("loss_line", "label", "line", "alpha", "loss")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=4, height=340, share_y=True)
    for panel, part in grid.by(table, "label"):
        for name, points in split(part, "line"):
            points = points.sort_values("alpha")
            y, hover = points.loss.where(points.loss > 0), "α = %{x:.2f}: %{y:.3g} nats"
            panel.line(points.alpha, y, name, dash=grid.dash(name), hover=hover)
        panel.rule(x=0).rule(x=1)
    return grid.x("α [length of the line]").y("loss [nats]", log=True)


def _answer(table: pd.DataFrame) -> Answer:
    """Per line: loss at 0 and at 1 (the nearest tabulated places), and the highest in between."""
    rows = []
    for run, own in split(table, "label"):
        for line, part in split(own, "line"):
            at = {end: float(part.loss.iloc[int(np.argmin(np.abs(part.alpha - end)))]) for end in (0, 1)}
            inside = part.alpha.between(0, 1)
            highest = float((part[inside] if inside.any() else part).loss.max())
            barrier = highest - max(at.values())
            rows.append((run, line, at[0], at[1], barrier))
    found = pd.DataFrame(rows, columns=["run", "line", "loss at 0 [nats]", "loss at 1 [nats]", "barrier [nats]"])
    told = [f"{run}, {line}, {barrier:.2g}" for run, line, _, _, barrier in sorted(rows, key=lambda row: -row[-1])]
    return Answer(listed("Highest loss on the way above the higher end [nats]", told), found)


def _example() -> pd.DataFrame:
    """Made-up lines: a descent, and a barrier between two solutions."""
    alphas = [i / 10 for i in range(-2, 13)]
    rows = [("LoRA r = 8", "start to solution", a, 0.1 + 1.4 * (1 - a) ** 2) for a in alphas]
    rows += [("LoRA, BitFit", "LoRA to BitFit", a, 0.1 + 2 * max(0.0, a * (1 - a)) ** 2) for a in alphas]
    return pd.DataFrame(rows, columns=["label", "line", "alpha", "loss"])


LOSS_LINE = Figure(
    name="loss_line",
    title="The loss along lines through φ",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="loss",
    order=7,
    caption=(
        "Loss of one fixed batch along straight lines through each delta's vector: from the start to the solution, "
        "from one method's solution to another's, and along single directions; the dotted verticals are the line's two "
        "points, the height is logarithmic."
    ),
    reading=(
        "A fall without a hump from 0 to 1 says that gradient descent could have gone straight. A hump between two "
        "solutions is a barrier: they lie in different basins, or at least the straight way leaves the basin. A line "
        "is one direction of very many; flatness along it says nothing about the others."
    ),
    source=(GOODFELLOW_2015,),
    example=_example,
)
