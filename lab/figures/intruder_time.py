"""Share of matrices with an intruder along a training run, seen and forecast, at several step sizes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed
from lab.figures.sources import BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("intruder_time", "label", "step_size", "step", "with_intruder", "forecast", "low", "high")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=360, share_y=True)
    grid.depths(table.step_size, "η [1]")
    for panel, part in grid.by(table, "label"):
        for size, own in part.groupby("step_size"):
            own, name = own.sort_values("step"), f"η = {size:g}"
            panel.band(own.step, own.low, own.high, name, depth=size, alpha=0.13)
            panel.line(own.step, own.forecast, name, depth=size, dash="dash", width=1.4, key="forecast")
            panel.line(own.step, own.with_intruder, name, depth=size, symbol="circle", size=5, key="seen")
    return grid.x("step [count]").y("matrices [fraction]", range=(-0.03, 1.03))


def _answer(table: pd.DataFrame) -> Answer:
    """Per run: the first step at which half of the matrices have an intruder, and should."""
    rows = []
    for (label, size), part in table.sort_values("step").groupby(["label", "step_size"], sort=False):
        shares = [float(part[column].iloc[-1]) for column in ("with_intruder", "forecast")]
        rows.append((label, size, _half(part, "with_intruder"), _half(part, "forecast"), *shares))
    names = ["run", "η [1]", "half have one [steps]", "half forecast [steps]", "at the end [fraction]"]
    found = pd.DataFrame(rows, columns=[*names, "forecast at the end [fraction]"])
    told = [f"{run} at η = {size:g}: {seen:.0%} ({forecast:.0%} forecast)" for run, size, *_, seen, forecast in rows]
    return Answer(listed("Matrices with an intruder at the end of training", told), found)


def _half(part: pd.DataFrame, column: str) -> float:
    reached = part.step[part[column] >= 0.5]
    return float(reached.iloc[0]) if len(reached) else np.nan


def _example() -> pd.DataFrame:
    """Made-up shares that rise sooner at larger step sizes."""
    rows = []
    for label, slow in (("full fine-tuning", 40.0), ("LoRA r = 8", 15.0)):
        for size in (1e-3, 3e-3, 1e-2):
            for step in range(5, 61, 5):
                share = float(np.clip(np.log(step * size / 1e-3 / slow) + 0.5, 0, 1))
                rows.append(
                    {"label": label, "step_size": size, "step": step, "with_intruder": share}
                    | {"forecast": min(1.0, 1.15 * share), "low": 0.8 * share}
                    | {"high": min(1.0, 1.4 * share)}
                )
    return pd.DataFrame(rows)


INTRUDER_TIME = Figure(
    name="intruder_time",
    title="Intruders in training time",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=9,
    caption=(
        "Share of the studied matrices whose W₀ + ΔW has an intruder dimension, along training at several step sizes η "
        "(points), and the share whose ‖ΔW‖₂ has met the threshold of the spiked model on W₀'s spectrum (dashed; band: "
        "10 to 90 % of random directions)."
    ),
    reading=(
        "Dashed lines know the norm of each update and no direction of it. A solid line to the right of its dashed one "
        "is late: training moves along directions that W₀ has, which intrude only when they outgrow it. A line that "
        "stays at zero belongs to a step size that never leaves the regime of full fine-tuning as it is usually done."
    ),
    source=(BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024),
    example=_example,
)
