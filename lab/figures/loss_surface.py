"""The loss on planes as surfaces, to be turned with the pointer."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from lab.figures.definition import TableError
from lab.figures.grammar import Grid
from lab.figures.loss_plane import HOVER, LOSS_PLANE, SCALE, cells, planes
from lab.figures.style import Theme


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """A surface for each plane that is known on a grid; one colour scale."""
    known = [(title, part) for title, part in planes(table) if (part.kind == "grid").any()]
    if not known:
        raise TableError("no plane of this table is known on a grid; the figure 'loss_plane' draws what there is")
    grid = Grid(theme, wrap=min(2, len(known)), height=480)
    for title, part in known:
        path = part[part.kind == "path"]
        way = (path.alpha, path.beta, path.loss) if len(path) else None
        grid.panel(title, solid=True).surface(cells(part), SCALE, path=way, hover=HOVER)
    return grid.x("α [direction's length]").y("β [direction's length]")


LOSS_SURFACE = replace(
    LOSS_PLANE,
    name="loss_surface",
    title="The loss on planes as a surface",
    build=_build,
    order=6,
    table="loss_plane",
    caption=(
        "Loss of one fixed batch on two-dimensional planes through each delta's vector, as a surface with the training "
        "trajectory projected on it; colour and height are the logarithm of the loss, with one scale for all planes."
    ),
)
