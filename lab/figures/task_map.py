"""Tasks as points: near each other where their changes read or write the same directions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.each_collection import each_once
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import QIN_2021
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("task_map", "label", "side", "member", "type", "x", "y", "kept")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=420)
    for panel, part in grid.by(each_once(table), "label", "side"):
        for kind, own in split(part, "type"):
            hover = "%{customdata[0]}"
            panel.points(own.x, own.y, kind, symbol=grid.symbol(kind), size=10, hover=hover, data=[own.member])
        panel.rule(x=0).rule(y=0)
    return grid.x("first coordinate [chordal distance]").y("second coordinate [chordal distance]")


def _answer(table: pd.DataFrame) -> Answer:
    rows = []
    for name, part in split(each_once(table), "label", "side"):
        xy = part[["x", "y"]].to_numpy()
        apart = np.linalg.norm(xy[:, None] - xy[None], axis=2)
        same = part.type.to_numpy()[:, None] == part.type.to_numpy()[None]
        pairs = np.triu(np.ones_like(same), 1)
        inside, across = apart[same & pairs], apart[~same & pairs]
        rows.append(
            {"map": name, "inside a type [chordal distance]": inside.mean() if inside.size else np.nan,
             "across types [chordal distance]": across.mean() if across.size else np.nan, "kept": part.kept.iloc[0]}
        )  # fmt: skip
    found = pd.DataFrame(rows)
    told = [
        f"{row['map']} {row['inside a type [chordal distance]']:.2f} inside, "
        f"{row['across types [chordal distance]']:.2f} across"
        for row in found.to_dict("records")
    ]
    end = f". The plane holds {found.kept.min():.0%} of the distances at least."
    return Answer(listed("Mean distance of tasks inside a type and across types, on the map", told, end=end), found)


def _example() -> pd.DataFrame:
    """Made-up: three types in corners."""
    rows = []
    for side, spread in (("inputs", 0.1), ("outputs", 0.25)):
        for i in range(9):
            kind, angle = ("sentiment", "topic", "syntax")[i % 3], 2 * np.pi * (i % 3) / 3
            turn = spread * np.array([np.cos(i), np.sin(2 * i)])
            rows.append(("LoRA r = 8", side, f"task {i}", kind, np.cos(angle) + turn[0], np.sin(angle) + turn[1], 0.6))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


TASK_MAP = Figure(
    name="task_map",
    title="Map of the tasks",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=15,
    averages=("seed", "task"),
    caption=(
        "Every trained change as a point, so that distances in the plane are as near as they can be to the chordal "
        "distances √(1 − mean cos²θ) of the principal angles θ between the row spaces (inputs) or column spaces "
        "(outputs) of the changes, over all matrices: classical scaling."
    ),
    reading=(
        "Tasks of one type that stand together use the same directions of the layers. A map in which all points lie on "
        "a circle around nothing has no structure: all pairs are about as far apart as random subspaces. Rotation and "
        "sign mean nothing; the share of the distances that the plane holds says how far to trust it."
    ),
    source=(QIN_2021,),
    example=_example,
)
