"""The random maps R^d → R^D of the lab: how nearly each is an isometry."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from app.playgrounds.playground import Playground
from lab.figures import Theme
from lab.figures.grammar import Grid
from lab.projections import PROJECTIONS


def simulate(name: str, D: int, d: int) -> pd.DataFrame:
    """The eigenvalues of PᵀP, beside the edges of a Gaussian's.

    Args:
        name: of a projection.
        D: length of the image.
        d: dimension of the subspace.
    """
    P = next(cls for cls in PROJECTIONS if cls.name == name)(D, d, seed=0)
    columns = P @ torch.eye(d, dtype=torch.float64)
    values = torch.linalg.eigvalsh(columns.mT @ columns).flip(0).numpy()
    ratio = np.sqrt(d / D)
    return pd.DataFrame(
        {"name": name, "index": np.arange(1, d + 1), "value": values, "low": (1 - ratio) ** 2, "high": (1 + ratio) ** 2,
         "missed": 1 - d / D}
    )  # fmt: skip


def draw(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, height=360)
    panel = grid.panel()
    panel.zone(y=(float(table.low.iloc[0]), float(table.high.iloc[0])), colour=theme.muted)
    panel.rule(y=1.0, name="an isometry", dash="dash")
    panel.points(table["index"], table.value, str(table["name"].iloc[0]), colour=theme.colour(0), size=6)
    return grid.x("index [count]").y("eigenvalue of PᵀP [1]", zero=True)


def answer(table: pd.DataFrame) -> str:
    condition = np.sqrt(table.value.iloc[0] / max(table.value.iloc[-1], 1e-300))
    return (
        f"Lengths are kept within a factor of {condition:.3g} of one another. Whatever the map, a subspace of this "
        f"dimension misses {table.missed.iloc[0]:.0%} of a random direction."
    )


PLAYGROUND = Playground(
    title="Random projections",
    question="Does it matter which random map makes the subspace?",
    theory="Of a Gaussian map the eigenvalues of PᵀP fill [(1 − √(d/D))², (1 + √(d/D))²] (grey; Marchenko & Pastur "
    "1967). Any isotropic map misses 1 − d/D of a random direction on average.",
    knobs={
        "name": ("Projection", tuple(cls.name for cls in PROJECTIONS if cls.drawn), "fastfood"),
        "D": ("Weights D", (64, 256, 1024), 256),
        "d": ("Dimension d", (2, 4, 8, 16, 32, 64), 32),
    },
    simulate=simulate,
    draw=draw,
    answer=answer,
)
