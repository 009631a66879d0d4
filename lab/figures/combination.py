"""Prompt, BitFit and adapter in every combination: the eight cells, and what each factor does."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, first_seen, listed, split
from lab.figures.sources import DING_2022, DING_2023
from lab.figures.style import Theme, counted, score_title
from lab.statistics import Answer
from lab.statistics.combination import CELLS, FACTORS, KINDS, contrasts, named

_COLUMNS = columns("combination", "label", "seed", *FACTORS, "score")
_OPTIONAL = columns("combination", "metric")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=300)
    found = contrasts(table)
    for label, part in split(table.assign(cell=named(table)), "label"):
        cells, effects = grid.row(label, 2)
        colour = theme.colour(0)
        hover = "%{x:.4f}, seed %{customdata[0]}<extra>%{y}</extra>"
        cells.points(part.score, part.cell, "one run", colour=colour, alpha=0.55, size=7, data=[part.seed], hover=hover)
        means = part.groupby("cell", sort=False).score.mean()
        bar: dict[str, Any] = {
            "colour": theme.ink,
            "symbol": "line-ns",
            "size": 15,
            "hover": "mean %{x:.4f}<extra>%{y}</extra>",
        }
        cells.points(means, means.index, "mean of the seeds", **bar)
        cells.x(score_title(part.metric if "metric" in part else [])).y(categories=CELLS)
        _effects(effects, found[found.label == part.label.iloc[0]])
    return grid


def _effects(panel: Panel, found: pd.DataFrame) -> None:
    """Estimate and interval of each term, in hundredths, beside the line of no effect."""
    panel.rule(x=0).x("difference of the score [points of 0.01]").y(categories=first_seen(found.term))
    for kind, symbol in zip(KINDS, ("circle", "diamond", "square-open"), strict=True):
        part = found[found.kind == kind].astype({"estimate": float, "low": float, "high": float})
        low, high = (100 * (part[end] - part.estimate).abs().where(np.isfinite(part[end])) for end in ("low", "high"))
        hover = "%{x:+.2f} [%{customdata[0]:+.2f}, %{customdata[1]:+.2f}], %{customdata[2]} seeds<extra>%{y}</extra>"
        look: dict[str, Any] = {"symbol": symbol, "hover": hover, "data": [100 * part.low, 100 * part.high, part.n]}
        if len(part):
            panel.points(100 * part.estimate, part.term, kind, across=high, across_left=low, **look)


def _answer(table: pd.DataFrame) -> Answer:
    found = contrasts(table)
    if not len(found):  # no design is complete: the means of the cells
        cells = table.assign(cell=named(table)).groupby(["label", "cell"], sort=False).score.mean().reset_index()
        return Answer(f"{counted(len(table), 'run')}, no seed has all eight combinations.", cells)
    names = {"label": "label", "term": "term", "n": "seeds [count]"}
    summary = found[list(names)].rename(columns=names)
    for column, name in {"estimate": "difference", "low": "low", "high": "high"}.items():
        summary[f"{name} [0.01]"] = 100 * found[column]
    beside = found[found.kind == KINDS[1]].sort_values("estimate", key=abs, ascending=False)
    several = beside.label.nunique() > 1
    told = [
        f"{row['term'].removesuffix(' beside another')}: {100 * row['estimate']:+.1f} "
        f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]" + (f" ({row['label']})" if several else "")
        for row in beside.to_dict("records")
    ]
    return Answer(listed("What a delta adds beside another, in points of 0.01", told), summary)


def _example() -> pd.DataFrame:
    """Made-up scores: the adapter helps, the prompt hurts beside it."""
    rows = []
    for seed in range(4):
        for on in product((0, 1), repeat=len(FACTORS)):
            prompt, bitfit, adapter = on
            noise = 0.008 * np.cos(7 * seed + 3 * prompt + 5 * bitfit + 11 * adapter)
            score = 0.7 + 0.04 * bitfit + 0.09 * adapter - 0.03 * prompt * adapter - 0.02 * bitfit * adapter + noise
            rows.append({"label": "example", "seed": seed, **dict(zip(FACTORS, on, strict=True)), "score": score})
    return pd.DataFrame(rows)


COMBINATION = Figure(
    name="combination",
    title="Simultaneous combinations",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="methods",
    order=4,
    averages=("seed",),
    caption=(
        "Left: validation score of the eight combinations of prompt, BitFit and adapter, trained at once; every run is "
        "a point, the bar is the mean. Right: effects of the 2³ design, paired by seed, with 95 % Student intervals "
        "over the seeds: of each delta over all four combinations of the others, over the three that hold another "
        "delta, and the interactions."
    ),
    reading=(
        "A delta whose interval lies right of zero helps. Its effect (circle) includes the step from no delta at all, "
        "which most deltas win; whether it helps a combination is what the diamond says. A negative interaction: "
        "together they gain less than the sum of what each gains. The empty cell trains the new head alone, or, under "
        "a template, is the untouched model; all cells treat the head alike."
    ),
    source=(DING_2023, DING_2022),
    example=_example,
    optional=_OPTIONAL,
)
