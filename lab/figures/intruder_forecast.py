"""Forecast and seen strength of the first intruder, matrix by matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024
from lab.figures.style import Theme, counted
from lab.statistics import Answer

_COLUMNS = columns("intruder_forecast", "label", "matrix", "forecast", "forecast_low", "forecast_high", "seen")
_OPTIONAL = columns("intruder_forecast", "seen_random", "aligned")

HOVER = "%{customdata[0]}<br>forecast %{x:.3g}, seen %{y:.3g}"


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, height=460, labels=table.label)
    panel = grid.panel()
    columns = [name for name in ("forecast", "seen", "seen_random") if name in table]
    finite = table[columns].to_numpy(float).ravel()
    finite = finite[np.isfinite(finite) & (finite > 0)]
    ends = (float(finite.min()) / 1.5, float(finite.max()) * 1.5) if len(finite) else (1.0, 10.0)
    panel.line(ends, ends, "as forecast", colour=theme.muted, dash="dash")
    for label, part in split(table, "label"):
        look = grid.look(label)
        kinds = {"seen_random": ("random directions", "-open"), "seen": ("as trained", "")}
        for column, (key, suffix) in kinds.items():
            if column not in part:
                continue
            known = part[np.isfinite(part[column]) & np.isfinite(part.forecast)]
            late, early = known.forecast_high - known.forecast, known.forecast - known.forecast_low
            marked: dict[str, Any] = (
                {"across": late.where(np.isfinite(late)), "across_left": early} if column == "seen" else {}
            )
            marked |= {"colour": look.colour, "symbol": look.symbol + suffix, "size": 9, "key": key}
            panel.points(known.forecast, known[column], label, data=[known.matrix], hover=HOVER, **marked)
    grid.x("forecast strength t of the first intruder [1]", log=True, range=ends)
    return grid.y("strength at which it is seen [1]", log=True, range=ends)


def _answer(table: pd.DataFrame) -> Answer:
    """Per run: how many matrices intrude, how far off the forecasts are, and whether they order the matrices."""
    rows = []
    for label, part in split(table, "label"):
        pairs = part[np.isfinite(part.seen) & np.isfinite(part.forecast)]
        inside = pairs.seen.between(pairs.forecast_low, pairs.forecast_high)
        row: dict[str, Any] = {
            "run": label,
            "matrices [count]": len(part),
            "intrude [count]": int(np.isfinite(part.seen).sum()),
        }
        row |= {"median seen t [1]": float(part.seen.median()), "median forecast t [1]": float(part.forecast.median())}
        row |= {"seen / forecast, median [1]": float((pairs.seen / pairs.forecast).median())}
        row |= {"inside the forecast's range [%]": 100 * float(inside.mean()) if len(pairs) else np.nan}
        order = pairs[["forecast", "seen"]].rank().corr().iloc[0, 1] if len(pairs) > 2 else np.nan
        row |= {"rank correlation [1]": order}
        if "aligned" in part:
            row["seen / aligned forecast, median [1]"] = float((part.seen / part.aligned).median())
        if "seen_random" in part:
            row["random directions, median t [1]"] = float(part.seen_random.median())
        rows.append(row)
    told = [
        f"{row['run']}: {row['seen / forecast, median [1]']:.2f} times the forecast, "
        f"{row['intrude [count]']} of {counted(row['matrices [count]'], 'matrix', 'matrices')}"
        for row in rows
    ]
    return Answer(listed("Median strength at which the first intruder is seen", told), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made-up onsets about their forecasts."""
    rows = [
        {"label": label, "matrix": f"block.{n}.query", "forecast": base * 1.3**n}
        | {"forecast_low": base * 1.1**n / 1.2, "forecast_high": base * 1.4**n * 1.2}
        | {"seen": base * 1.3**n * (0.9 + 0.1 * (n % 4)), "seen_random": base * 1.3**n}
        | {"aligned": base * 1.3**n}
        for label, base in (("LoRA r = 8", 3.0), ("full fine-tuning", 40.0))
        for n in range(6)
    ]
    return pd.DataFrame(rows)


INTRUDER_FORECAST = Figure(
    name="intruder_forecast",
    title="First intruder: forecast and seen",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    conclude=_answer,
    group="weights",
    order=7,
    caption=(
        "Strength t at which W₀ + t·ΔW has its first intruder dimension (k = 10, ε = ½): forecast by the spiked model "
        "from the spectrum of W₀ and ‖ΔW‖₂ alone (bars: 10 to 90 % of random directions), against what is seen, one "
        "point per matrix; open: updates with the same singular values and random directions."
    ),
    reading=(
        "Points on the dashed line appear when forecast. Open points test the model where its assumption holds: "
        "directions in general position. Filled points above the line are late: training moves along directions of W₀, "
        "and makes no intruder until it outgrows them. Points are missing where no intruder is seen up to twenty times "
        "the size of W₀. Logarithmic axes: the size of ΔW, which differs between methods, sets most of the position."
    ),
    source=(BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024),
    example=_example,
)
