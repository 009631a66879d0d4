"""The loss on planes: contours with the trajectory on top."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, listed
from lab.figures.grammar.panel import OUTLINED
from lab.figures.sources import GARIPOV_2018, LI_2018_VISUALIZING
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("loss_plane", "label", "plane", "kind", "alpha", "beta", "loss")
SCALE, HOVER = "loss [nats]", "α = %{x:.2f}, β = %{y:.2f}: %{customdata[0]:.3g} nats"
_OPTIONAL = columns("loss_plane", "name")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """Each plane as contours; one colour scale."""
    groups = planes(table)
    grid = Grid(theme, wrap=min(3, len(groups)), height=480)
    for title, part in groups:
        _contours(grid.panel(title), part)
    return grid.x("α [direction's length]").y("β [direction's length]")


def planes(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Title and rows of every plane; labels with most planes first, so that rows hold one."""
    many = table.groupby("label").plane.transform("nunique")
    groups = table.assign(many=-many).sort_values("many", kind="stable").groupby(["label", "plane"], sort=False)
    return [(f"{label}\n{plane}", part) for (label, plane), part in groups]


def cells(part: pd.DataFrame) -> pd.DataFrame:
    """The loss, beta by alpha."""
    return part[part.kind == "grid"].pivot_table(index="beta", columns="alpha", values="loss")


def _contours(panel: Panel, part: pd.DataFrame) -> None:
    heights, path, points = cells(part), part[part.kind == "path"], part[part.kind == "point"]
    if len(heights):
        panel.heat(heights, SCALE, log=True, smooth=True, data=[heights], hover=HOVER)
    if len(path):
        look: dict[str, Any] = {"colour": panel.grid.theme.palette[1], "symbol": "circle", "size": 4, "width": 2}
        panel.line(path.alpha, path.beta, "training", data=[path.loss], hover="loss %{customdata[0]:.3g} nats", **look)
    if len(points):
        names = points["name"] if "name" in points else pd.Series("", index=points.index)
        text = {"textfont": OUTLINED, "cliponaxis": False}
        look = {"colour": "#ffffff", "symbol": "x", "size": 9, "edge": "#000000", "text": names, "more": text}
        hover = "%{text}: loss %{customdata[0]:.3g} nats"
        panel.points(points.alpha, points.beta, "solutions", data=[points.loss], hover=hover, listed=False, **look)


def _answer(table: pd.DataFrame) -> Answer:
    """Per plane: least and largest loss on the grid, how much of it lies above ten times the least, and the loss at its
    named points. A plane is of one run and batch, hence no interval."""
    rows = []
    for (label, plane), part in table.groupby(["label", "plane"], sort=False):
        loss = part.loss[part.kind == "grid"] if (part.kind == "grid").any() else part.loss
        rows.append((label, plane, len(loss), loss.min(), loss.max(), float((loss > 10 * loss.min()).mean())))
    names = ["label", "plane", "points [count]", "least loss [nats]", "largest loss [nats]"]
    found = pd.DataFrame(rows, columns=[*names, "above ten times the least [share]"])
    told = [
        f"{label}, {plane}: least {low:.3g}{_named(table, (label, plane))}, above ten times that on {share:.0%} of it"
        for label, plane, _, low, _, share in rows
    ]
    return Answer(listed("Loss on a batch [nats], each plane of one run and so without an interval", told), found)


def _named(table: pd.DataFrame, of: tuple[Hashable, Hashable]) -> str:
    """The loss at the points of a plane that have names, in words."""
    own = table[(table.label == of[0]) & (table.plane == of[1]) & (table.kind == "point")]
    if "name" not in own or own.empty:
        return ""
    return ", " + ", ".join(f"{loss:.3g} at {name}" for name, loss in zip(own["name"], own.loss, strict=True))


def _example() -> pd.DataFrame:
    """A made-up bowl with a narrow valley, a trajectory and two named points."""
    rows = []
    for label, stiff in (("LoRA r = 8", 4.0), ("BitFit", 1.0)):
        for a in np.linspace(-1, 1, 9):
            for b in np.linspace(-1, 1, 9):
                rows.append((label, "PCA of the trajectory", "grid", a, b, 0.05 + stiff * a**2 + 0.3 * b**2, ""))
        for t in np.linspace(0, 1, 5):
            a, b = 0.8 * (1 - t) ** 2, -0.9 * (1 - t)
            rows.append((label, "PCA of the trajectory", "path", a, b, 0.05 + stiff * a**2 + 0.3 * b**2, str(t)))
        for name, a, b in (("start", 0.8, -0.9), ("solution", 0.0, 0.0)):
            rows.append((label, "PCA of the trajectory", "point", a, b, 0.05 + stiff * a**2 + 0.3 * b**2, name))
    return pd.DataFrame(rows, columns=["label", "plane", "kind", "alpha", "beta", "loss", "name"])


LOSS_PLANE = Figure(
    name="loss_plane",
    title="The loss on planes through φ",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    conclude=_answer,
    group="loss",
    order=5,
    caption=(
        "Loss of one fixed batch on two-dimensional planes through each delta's vector: contours with the training "
        "trajectory projected on them; colour is the logarithm of the loss, with one scale for all planes."
    ),
    reading=(
        "Compare planes by how far one must go for the loss to rise: along the stiffest directions a basin is narrow, "
        "along random ones of the weights' own size nearly flat. A trajectory is drawn where it is seen from above; "
        "its points may lie off the plane, and their own loss (on hovering) may differ from the contour below them. "
        "Two dimensions of a random walk already look like a smooth curve, so a smooth path alone shows nothing. A "
        "plane through three solutions shows whether a barrier lies between them."
    ),
    source=(LI_2018_VISUALIZING, GARIPOV_2018),
    example=_example,
)
