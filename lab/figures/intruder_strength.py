"""As an update is made stronger: its score, and the share of matrices with an intruder, beside the forecast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("intruder_strength", "label", "strength", "score", "with_intruder", "forecast", "low", "high")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=360, labels=table.label)
    left, right = grid.panel("what the model still does"), grid.panel("matrices with an intruder")
    positive = table.strength[table.strength > 0]
    zero = float(positive.min()) / 2 if len(positive) else 0.5  # t = 0 has no place on a logarithmic axis
    for label, part in split(table, "label"):
        part, look = part.sort_values("strength"), grid.look(label)
        x = part.strength.where(part.strength > 0, zero)
        marked: dict[str, Any] = {"colour": look.colour, "symbol": look.symbol}
        left.line(x, part.score, label, size=7, **marked)
        right.band(x, part.low, part.high, label, colour=look.colour, alpha=0.18)
        right.line(x, part.forecast, label, size=4, dash="dash", width=1.2, key="forecast", **marked)
        right.line(x, part.with_intruder, label, size=7, key="seen", **marked)
    ticks = sorted({zero, *positive})
    grid.x("strength t of the update [1]", log=True, ticks={t: "0" if t == zero else f"{t:g}" for t in ticks})
    left.y("validation score [fraction]")
    right.y("share of matrices [fraction]", range=(-0.03, 1.03))
    return grid


def _answer(table: pd.DataFrame) -> Answer:
    columns = {
        "label": "run",
        "strength": "t [1]",
        "score": "score [fraction]",
        "with_intruder": "with intruder [fraction]",
        "forecast": "forecast [fraction]",
    }
    told = []
    for label, part in split(table, "label"):
        part = part.sort_values("strength")
        best = part.sort_values(["score", "strength"], ascending=[False, True]).iloc[0]
        intruded = part[part.with_intruder > 0]
        first = f"the first intruders at t = {intruded.strength.iloc[0]:g}" if len(intruded) else "no intruder"
        told.append(f"{label}: best score {best.score:.3f} at t = {best.strength:g}, {first}")
    return Answer(listed("As the update grows", told), table[list(columns)].rename(columns=columns))


def _example() -> pd.DataFrame:
    """Made-up curves."""
    rows = []
    for label, onset in (("LoRA r = 8", 4.0), ("full fine-tuning", 32.0)):
        for t in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0):
            share = float(np.clip(np.log2(max(t, 0.1) / onset) / 3 + 0.3, 0, 1))
            rows.append(
                {"label": label, "strength": t}
                | {"score": 0.3 + 0.6 * float(np.exp(-abs(np.log(max(t, 0.1))) / 3))}
                | {"with_intruder": share, "forecast": min(1.0, share * 1.1), "low": share * 0.8}
                | {"high": min(1.0, share * 1.3)}
            )
    return pd.DataFrame(rows)


INTRUDER_STRENGTH = Figure(
    name="intruder_strength",
    title="As an update grows stronger",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=8,
    caption=(
        "Left: validation score of θ₀ + t·Δθ over the strength t of the update (for a LoRA, α). Right: share of the "
        "studied matrices with an intruder dimension, seen (points) and forecast (dashed; band: early and late "
        "directions)."
    ),
    reading=(
        "t = 1 is the model as trained, t = 0 the pre-trained weights with the trained head. Where the score holds "
        "while intruders have appeared, they do no harm on this task; where it falls before any appears, something "
        "else breaks first. The forecast knows only W₀'s spectrum and ‖ΔW‖₂ of each matrix."
    ),
    source=(SHUTTLEWORTH_2024, BENAYCH_GEORGES_2012),
    example=_example,
)
