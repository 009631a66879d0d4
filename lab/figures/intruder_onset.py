"""When the first intruder comes, in training time and in step size: forecast against seen, matrix by matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.intruder_forecast import HOVER
from lab.figures.sources import BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024
from lab.figures.style import Theme, plain
from lab.statistics import Answer
from lab.statistics.intruder_onset import onset

_COLUMNS = columns("intruder_onset", "label", "along", "run", "matrix", "forecast", "extrapolated", "seen", "before")
_AXES = {"training time": "step [count]", "step size": "η [1]"}
_KINDS = {"forecast": ("", "norm known"), "extrapolated": ("-open", "norm extrapolated")}


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=420, labels=table.label)
    for panel, part in grid.by(table, "along"):
        ends = _ends(part)
        panel.line(ends, ends, "as forecast", colour=theme.muted, dash="dash")
        for label, own in split(part, "label"):
            look = grid.look(label)
            for column, (suffix, key) in reversed(_KINDS.items()):
                known = own[np.isfinite(own[column])].assign(at=onset).dropna(subset="at")
                bars = {"error": known.seen - known["at"], "error_down": known["at"] - known.before}
                marked: dict[str, Any] = {
                    "colour": look.colour,
                    "symbol": look.symbol + suffix,
                    "size": 7,
                    "alpha": 0.75,
                    "key": key,
                }
                marked |= bars if column == "forecast" else {}
                x, data = known[column].clip(*ends), [known.matrix + ", " + known.run]
                panel.points(x, known["at"], label, data=data, hover=HOVER, **marked)
        quantity = _AXES.get(part.along.iloc[0], plain(f"{part.along.iloc[0]} [1]"))
        wide = (ends[0] / 1.02, ends[1] * 1.02)
        panel.x(f"forecast {quantity}", log=True, range=wide).y(f"seen {quantity}", log=True, range=wide)
    return grid


def _ends(part: pd.DataFrame) -> tuple[float, float]:
    """The range of what is seen and of the known forecast; an extrapolation outside is drawn at the edge."""
    values = part[["forecast", "seen"]].to_numpy(float).ravel()
    values = values[np.isfinite(values) & (values > 0)]
    return (float(values.min()) / 2, float(values.max()) * 2) if len(values) else (1.0, 10.0)


def _answer(table: pd.DataFrame) -> Answer:
    """Per method and way to grow: first intruders seen, and the ratio of seen to each forecast."""
    rows = []
    for (label, along), part in table.groupby(["label", "along"], sort=False):
        seen = part[np.isfinite(part.seen)]
        row: dict[str, Any] = {
            "run": label,
            "over": along,
            "looked at [count]": len(part),
            "intrude [count]": len(seen),
        }
        row |= {"forecast to [count]": int(np.isfinite(part.forecast).sum())}
        for column, (_, key) in _KINDS.items():
            both = seen[np.isfinite(seen[column])].assign(at=onset).dropna(subset="at")
            row[f"seen / forecast, {key}, median [1]"] = float((both["at"] / both[column]).median())
            order = both[[column, "at"]].rank().corr().iloc[0, 1] if len(both) > 2 else np.nan
            row[f"rank correlation, {key} [1]"] = order
        rows.append(row)
    told = [
        f"{row['run']}, over {row['over']}: {row['seen / forecast, norm known, median [1]']:.2f} times the forecast "
        f"({row['intrude [count]']} of {row['looked at [count]']})"
        for row in rows
    ]
    return Answer(listed("Where the first intruder comes, median over matrices and runs", told), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made-up onsets about their forecasts."""
    rows = []
    for label, slow in (("full fine-tuning", 2.0), ("LoRA r = 8", 1.0)):
        for n in range(6):
            for size in (1e-3, 3e-3, 1e-2):
                at = slow * 4e-2 / size * 1.15**n
                rows.append(
                    {"label": label, "along": "training time", "run": f"η = {size:g}"}
                    | {"matrix": f"block.{n}.query", "forecast": at, "extrapolated": 0.8 * at}
                    | {"seen": 1.1 * at, "before": 0.95 * at}
                )
            at = slow * 1e-3 * 1.15**n
            rows.append(
                {"label": label, "along": "step size", "run": "60 steps", "matrix": f"block.{n}.query"}
                | {"forecast": at, "extrapolated": 0.7 * at, "seen": 1.2 * at, "before": 0.6 * at}
            )
    return pd.DataFrame(rows)


INTRUDER_ONSET = Figure(
    name="intruder_onset",
    title="First intruder in training time and in step size",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=10,
    caption=(
        "Step (left) and step size (right) from which W₀ + ΔW has an intruder dimension, against where ‖ΔW‖₂ meets the "
        "threshold of the spiked model on W₀'s spectrum; one point per matrix and run, halfway between the last "
        "place looked at without an intruder and the first with one (bars). Filled: the norm as it was. Open: the norm "
        "continued from the first quarter of the run, or from the least step size. Logarithmic axes."
    ),
    reading=(
        "Points on the dashed line come when forecast; above it they are late, because training first moves along "
        "directions of W₀. Filled points test the threshold, open ones also whether a norm can be continued: open "
        "points at an edge were extrapolated beyond the axis. Matrices without an intruder up to the last step, or the "
        "largest step size, and those that have one wherever looked, are missing; the table counts them."
    ),
    source=(BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024),
    example=_example,
)
