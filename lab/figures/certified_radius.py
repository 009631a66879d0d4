"""How far the state that enters the first block may be pushed before the answer changes, to first order."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split, spread
from lab.figures.sources import DING_2022, TSUZUKU_2018
from lab.figures.style import Theme
from lab.statistics import Answer, mean_interval
from lab.statistics.robustness import median_radii

_COLUMNS = columns("certified_radius", "label", "loop", "seed", "margin", "radius", "boundary")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=300, share_y=True)
    for column, title in (("radius", "kept for sure, to first order [‖h‖]"), ("boundary", "nearest boundary [‖h‖]")):
        panel = grid.panel().x(title)
        for label, part in split(table, "label"):
            spread(panel, median_radii(part, column).tolist(), f"{label} ({part.loop.iloc[0]})",
                   colour=grid.look(label).colour)  # fmt: skip
    return grid


def _answer(table: pd.DataFrame) -> Answer:
    rows, told = [], []
    for label, part in split(table, "label"):
        radius, boundary = (mean_interval(median_radii(part, name).tolist()) for name in ("radius", "boundary"))
        rows.append(
            {"label": label, "loop": part.loop.iloc[0], "radius": radius.estimate, "radius low": radius.low,
             "radius high": radius.high, "boundary": boundary.estimate, "right": float((part.margin > 0).mean())}
        )  # fmt: skip
        told.append(f"{label} {radius.estimate:.3g}")
    return Answer(
        listed("Median radius of right answers in units of ‖h‖, mean over seeds", told), pd.DataFrame(rows),
        best={"radius": "highest", "boundary": "highest"},
    )  # fmt: skip


def _example() -> pd.DataFrame:
    """Made-up margins and slopes: feedback a little flatter."""
    rng = np.random.default_rng(0)
    rows = []
    for label, loop, slope in (("LoRA", "feedback", 9.0), ("adapter", "feedback", 10.0), ("BitFit", "open loop", 12.0),
                               ("prefix", "open loop", 11.0)):  # fmt: skip
        for seed in range(5):
            margin = rng.normal(3, 1.5, 20)
            radius = np.maximum(margin, 0) / slope * rng.uniform(0.9, 1.1)
            rows += [(label, loop, seed, m, r, 1.2 * r) for m, r in zip(margin, radius, strict=True)]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


CERTIFIED_RADIUS = Figure(
    name="certified_radius",
    title="How far a state may be pushed",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="control",
    order=20,
    averages=("seed",),
    caption=(
        "Left: the push of the state entering the first block, relative to its norm, up to which an answer is kept to "
        "first order, margin/(√2 ‖∂logits/∂h‖₂). Right: the distance to the nearest boundary of the linearised "
        "classifier. Medians over the examples that are answered rightly; points are seeds, bars their mean with its "
        "95 % interval."
    ),
    reading=(
        "Farther right is more robust; nothing is sampled. If feedback rejected disturbances, adapter and LoRA would "
        "stand farther right than BitFit and prefix. A large margin and a steep classifier can cancel: compare both "
        "panels, and the accuracy under sampled perturbations. Where the network bends within the radius, first order "
        "is no certificate."
    ),
    source=(DING_2022, TSUZUKU_2018),
    example=_example,
)
