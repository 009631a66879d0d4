"""A quadratic with a chosen spectrum: how many random directions recover its loss."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from app.playgrounds.playground import Playground
from lab.figures import Theme
from lab.figures.grammar import Grid
from lab.geometry import predicted_intrinsic_dimension
from lab.geometry.closed_forms import subspace_minimum
from lab.linalg import Matrix

D = 200
DIMENSIONS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 190)


def simulate(decay: float, stiff: int, draws: int) -> pd.DataFrame:
    """Share of the loss that random subspaces recover, and what the equivalent predicts.

    Args:
        decay: p of λ_i = i^(−p).
        stiff: directions that keep their curvature; the others have 10⁻⁴ of it.
        draws: random subspaces of each dimension.
    """
    index = np.arange(1.0, D + 1)
    spectrum = index**-decay * np.where(index <= stiff, 1.0, 1e-4)
    A, e = torch.diag(torch.from_numpy(spectrum)), torch.ones(D, dtype=torch.float64)
    start = 0.5 * float(spectrum.sum())
    predicted = predicted_intrinsic_dimension(spectrum, dimensions=DIMENSIONS)
    rows = [{"kind": "predicted", "d": d, "share": share} for d, share in predicted.curve if d > 0]
    generator = torch.Generator().manual_seed(0)
    for d in DIMENSIONS:
        for _ in range(draws):
            P = Matrix(torch.randn(D, d, generator=generator, dtype=torch.float64))
            rows.append({"kind": "simulated", "d": d, "share": 1 - float(subspace_minimum(A, P, e)[1]) / start})
    return pd.DataFrame(rows).assign(d90=predicted.d, participation=predicted.participation_ratio)


def draw(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, height=360)
    panel, colour = grid.panel(), theme.colour(0)
    told, seen = table[table.kind == "predicted"], table[table.kind == "simulated"]
    panel.line(told.d, told.share, "predicted", colour=colour)
    panel.points(seen.d, seen.share, "random subspaces", colour=theme.colour(1), size=6, alpha=0.7)
    panel.rule(y=0.9, name="90 %", dash="dash").rule(x=float(table.d90.iloc[0]), name="predicted d90", dash="dot")
    return grid.x("dimension d of the subspace [count]", log=True).y("share of the loss recovered [1]")


def answer(table: pd.DataFrame) -> str:
    d90, ratio = table.d90.iloc[0], table.participation.iloc[0]
    return f"{d90:,} of {D} random directions recover 90 % of the loss; the participation ratio is {ratio:.1f}."


PLAYGROUND = Playground(
    title="A quadratic",
    question="Which spectra of the curvature make a low intrinsic dimension?",
    theory="The minimum over a random subspace leaves ½ Σ λᵢeᵢ² κ/(λᵢ + κ) of the loss, where Σ λᵢ/(λᵢ + κ) = d "
    "(Dereziński et al. 2020, theorem 1). It is a limit: below d = 8 it is a guide.",
    knobs={
        "decay": ("Decay p of λ = i⁻ᵖ", (0.0, 0.5, 1.0, 1.5, 2.0), 1.0),
        "stiff": ("Stiff directions", (2, 5, 10, 20, 50, 100, 200), 200),
        "draws": ("Subspaces a dimension", (1, 3, 10), 3),
    },
    simulate=simulate,
    draw=draw,
    answer=answer,
)
