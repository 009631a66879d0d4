"""Predicted against measured intrinsic dimension, one panel per variant of the prediction."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import DEREZINSKI_2020, LI_2018
from lab.figures.style import Theme, counted
from lab.statistics import Answer, Interval
from lab.statistics.predicted_dimension import rank_agreement

_COLUMNS = columns("predicted_dimension", "label", "variant", "measure", "predicted", "measured", "low", "high", "size")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    found = table[table.measured.notna()]
    if not len(found):
        grid = Grid(theme, height=330)
        grid.panel(f"no search of {table.label.iloc[0]} found its dimension").rule(y=0)
        return grid.x("predicted d₉₀ [count]").y("measured d₉₀ [count]")
    grid = Grid(theme, wrap=4, height=330, share_x=True, share_y=True)
    values = pd.concat([found.predicted, found.measured])
    ends = (10.0 ** (floor(log10(max(1, values.min()))) - 0.1), 10.0 ** (ceil(log10(max(10, values.max()))) + 0.1))
    for variant, own in split(table, "variant"):
        panel = grid.panel(_title(variant, own))
        panel.line(ends, ends, "equality", colour=theme.muted, dash="dot", width=1)
        for measure, part in split(own[own.measured.notna()], "measure"):
            bars: dict[str, Any] = {
                "error": (part.high - part.measured).fillna(0),
                "error_down": (part.measured - part.low).fillna(0),
            }
            look: dict[str, Any] = {
                "colour": grid.colour(measure),
                "symbol": "diamond-open" if measure == "score" else "circle",
            }
            hover = "%{customdata[0]}<br>predicted %{x}, measured %{y}"
            panel.points(part.predicted, part.measured, measure, hover=hover, data=[part.label], **bars, **look)
    axis: dict[str, Any] = {"log": True, "range": ends}
    return grid.x("predicted d₉₀ [count]", **axis).y("measured d₉₀ [count]", **axis)


def _title(variant: str, rows: pd.DataFrame) -> str:
    """The variant, with its rank correlation on the training loss."""
    found = _correlation(rows, str(rows.measure.iloc[0]))
    return variant if found is None else f"{variant}\nρ = {_interval(found.estimate, found.low, found.high)}"


def _interval(estimate: float, low: float, high: float) -> str:
    return f"{estimate:.2f} [{low:.2f}, {high:.2f}]"


def _correlation(rows: pd.DataFrame, measure: str) -> Interval | None:
    """Spearman's ρ with its interval over PLMs and tasks; None where fewer than four were measured or all are alike."""
    part = rows[(rows.measure == measure) & rows.measured.notna() & rows.predicted.notna()]
    if len(part) < 4 or part.predicted.nunique() < 2 or part.measured.nunique() < 2:
        return None
    return rank_agreement(part)


def _answer(table: pd.DataFrame) -> Answer:
    """Per variant and measure: searches, Spearman's ρ and interval, median of predicted over measured."""
    rows: list[tuple[Any, ...]] = []
    estimates: dict[str, Interval] = {}
    for (variant, measure), part in table.groupby(["variant", "measure"], sort=False):
        found, known = _correlation(part, str(measure)), part[part.measured.notna()]
        ends = (np.nan,) * 3 if found is None else (found.estimate, found.low, found.high)
        estimates |= {} if found is None else {f"ρ, {variant}, {measure}": found}
        rows.append((variant, measure, len(known), *ends, (known.predicted / known.measured).median()))
    names = ["variant", "90 % of", "searches [count]", "ρ", "ρ low", "ρ high", "predicted / measured, median"]
    summary = pd.DataFrame(rows, columns=names)
    first = summary[summary["90 % of"] == summary["90 % of"].iloc[0]].sort_values("ρ", ascending=False)
    told = [
        f"{row['variant']}: "
        + ("unknown" if row["ρ"] != row["ρ"] else _interval(row["ρ"], row["ρ low"], row["ρ high"]))
        for row in first.to_dict("records")
    ]
    most = counted(int(first["searches [count]"].max()), "search", "searches")
    lead = f"Rank correlation of predicted with measured dimension ({first['90 % of'].iloc[0]}, {most})"
    return Answer(listed(lead, told), summary, estimates)


def _example() -> pd.DataFrame:
    """Made-up searches: one variant that ranks them, one that does not."""
    rows = []
    for i in range(6):
        measured = 20.0 * 1.8**i
        for variant, predicted in (("Gauss-Newton at the start", 4 * 1.5**i), ("kernel at the start", 60 - 7 * i)):
            for measure, factor in (("training loss", 1.0), ("score", 0.6)):
                rows.append(
                    {"label": f"minilm · task {i % 3} · method {i // 3}", "variant": variant}
                    | {"measure": measure, "predicted": round(predicted)}
                    | {"measured": round(factor * measured), "size": 10_000, "low": 0.7 * factor * measured}
                    | {"high": 1.5 * factor * measured if i else np.nan}
                )
    return pd.DataFrame(rows)


PREDICTED_DIMENSION = Figure(
    name="predicted_dimension",
    title="Predicted and measured intrinsic dimension",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="loss",
    order=3,
    averages=("model", "task", "seed"),
    caption=(
        "Dimension at which a random subspace recovers 90 %, measured by training in subspaces, against the one "
        "predicted from a curvature spectrum and a displacement, one panel per variant; intervals are those of the "
        "search, the dotted line is equality. ρ is Spearman's, with its 95 % interval, for the training loss."
    ),
    reading=(
        "A variant predicts if its points rise from left to right, and predicts the number itself if they lie on the "
        "dotted line. Below the line fewer dimensions were needed than predicted, above it more. The curvature of n "
        "sentences has bounded rank, so no prediction exceeds it, and a search that trains for few steps also pays for "
        "its optimiser, which no quadratic knows. The units of ρ's interval are pairs of PLM and task; those of one "
        "PLM share its weights. A search that did not find its dimension is left out."
    ),
    source=(DEREZINSKI_2020, LI_2018),
    example=_example,
)
