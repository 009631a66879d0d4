"""Training minus validation score of each method against its tunable parameters, beside the shape of √(d/n)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, around, listed, split
from lab.figures.sources import AGHAJANYAN_2020, ARORA_2018, DING_2022
from lab.figures.style import Theme, count, counted, score_title
from lab.statistics import Answer, Interval, mean_interval, rank_correlation_interval
from lab.statistics.gaps import beside_full

_COLUMNS = columns("generalization_gap", "label", "kind", "task", "seed", "gap", "tunable", "bound")
_OPTIONAL = columns("generalization_gap", "metric")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """A panel per PLM and task, a row per method, those with most parameters on top; all seeds, mean and interval."""
    size = table.groupby("label").tunable.mean().sort_values(ascending=False, kind="stable")
    rows = {str(label): f"{label} (d = {count(d)})" for label, d in size.items()}
    grid = Grid(theme, wrap=3, height=24 * len(rows) + 60, share_x=True, share_y=True, labels=table.label)
    for panel, part in grid.by(table, "model", "task"):
        panel.rule(x=0, dash="solid")
        _shape(panel, part, rows, theme)
        for label, own in split(part, "label"):
            look, found = grid.look(label), mean_interval(list(own.gap))
            half = found.high - found.estimate if found.n > 1 else 0.0
            marked: dict[str, Any] = {"colour": look.colour, "symbol": look.symbol}
            row = rows[label]
            hover = f"gap %{{x:+.3f}} ± {half:.3f}, {counted(found.n, 'seed')}<br>d = {count(own.tunable.mean())}"
            hover += f"<br>bound {own.bound.mean():.3g}"
            faint: dict[str, Any] = {
                "alpha": 0.35,
                "size": 5,
                "data": [own.seed],
                "hover": "gap %{x:+.3f}, seed %{customdata[0]}",
            }
            panel.points(own.gap, [row] * len(own), label, listed=False, **marked, **faint)
            panel.points([found.estimate], [row], label, across=[half], size=9, hover=hover, listed=False, **marked)
    metric = score_title(table.metric if "metric" in table else [])
    grid.y("method by d [count]", categories=list(rows.values()), short={row: label for label, row in rows.items()})
    return grid.x(f"gap in {metric}", range=around(table.gap))


def _shape(panel: Panel, part: pd.DataFrame, rows: Mapping[str, str], theme: Theme) -> None:
    """The shape √d through the gap of full fine-tuning, at each method; the bound itself lies far above."""
    full = part[part.kind == "full"]
    if full.empty or not full.gap.mean() > 0:
        return
    d = part.groupby("label").tunable.mean()
    x = full.gap.mean() * np.sqrt(d / full.tunable.mean())
    hover = "shape of √(d/n): %{x:+.3f}"
    panel.points(x, d.index.map(rows), "shape of √(d/n)", colour=theme.muted, symbol="line-ns", size=12, hover=hover)


def _answer(table: pd.DataFrame) -> Answer:
    rows = []
    for label, part in split(table, "model", "label"):
        row: dict[str, Any] = {
            "method": label,
            "kind": part.kind.iloc[0],
            "tunable [count]": part.tunable.mean(),
            "gap": part.gap.mean(),
        }
        row |= {"smallest gap": part.gap.min(), "largest gap": part.gap.max(), "bound": part.bound.mean()}
        rows.append(row | {"runs [count]": len(part)})
    found = pd.DataFrame(rows).sort_values("gap", ascending=False, kind="stable", ignore_index=True)
    end, trained, estimates = ".", found[found.kind != "null"], {}
    if len(trained) > 3:
        rho = rank_correlation_interval(list(trained["tunable [count]"]), list(trained.gap))
        estimates["rank correlation of the gap with d"] = rho
        end = f"; the rank correlation of the gap with d is {rho.estimate:+.2f} [{rho.low:+.2f}, {rho.high:+.2f}]."
    beside = _beside(table)
    if not beside:
        told = [f"{row['method']}: {row['gap']:+.3f}" for row in found.to_dict("records")]
        return Answer(listed("Mean generalisation gap, largest first", told, end=end), found, estimates)
    for column, ends in {"beside full": "estimate", "from": "low", "to": "high"}.items():
        found[column] = [getattr(beside[m], ends) if m in beside else float("nan") for m in found["method"]]
    less, more = sum(d.high < 0 for d in beside.values()), sum(d.low > 0 for d in beside.values())
    told_apart = f"{less} of {len(beside)} methods lie below it for sure and {more} above"
    if not less + more:
        told_apart = f"none of {len(beside)} methods can be told from it"
    full = [f"{part.gap.mean():+.3f}" for _, part in split(table[table.kind == "full"], "model", "label")]
    lead = f"Full fine-tuning's gap is {' and '.join(full)}; {told_apart}. Differences"
    told = [
        f"{label} {d.estimate:+.3f}" + (f" [{d.low:+.3f}, {d.high:+.3f}]" if d.n > 1 else "")
        for label, d in sorted(beside.items(), key=lambda pair: pair[1].estimate)
    ]
    return Answer(listed(lead, told, end=end), found, estimates)


def _beside(table: pd.DataFrame) -> dict[str, Interval]:
    """Row of the answer -> the gap minus full fine-tuning's of the same PLM."""
    parts = split(table, "model") if "model" in table else [("", table)]
    before = {name: f"{name} · " if len(parts) > 1 else "" for name, _ in parts}
    return {f"{before[name]}{label}": d for name, part in parts for label, d in beside_full(part).items()}


def _example() -> pd.DataFrame:
    """Made-up gaps of five methods on two tasks, three seeds each."""
    rows = []
    methods = {
        "full fine-tuning": ("full", 22_713_986, 0.20),
        "adapter": ("delta", 595_970, 0.14),
        "LoRA": ("delta", 74_498, 0.12),
        "prompt": ("delta", 8450, 0.03),
        "linear probe": ("null", 770, 0.02),
        "LoRA + BitFit": ("combination", 101_380, 0.15),
    }
    for t, task in enumerate(("topic", "sentiment")):
        for label, (kind, d, level) in methods.items():
            bound = np.sqrt((d * np.log(2**16) + np.log(20)) / 512)
            for seed in range(3):
                gap = level * (1 - 0.4 * t) + 0.015 * np.cos(5 * seed + d)
                rows.append((label, kind, task, seed, gap, d, bound, "accuracy"))
    return pd.DataFrame(rows, columns=[*_COLUMNS, *_OPTIONAL])


GENERALIZATION_GAP = Figure(
    name="generalization_gap",
    title="Generalisation gap of the methods",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    conclude=_answer,
    group="methods",
    order=3,
    averages=("seed", "task"),
    apart=("model",),
    caption=(
        "Score on training examples minus score on validation examples after the last step, a row per method, those "
        "with most tunable parameters d on top: every seed (faint), mean and 95 % interval over seeds (that of two may "
        "leave the panel), one panel per task. Grey bars: the shape √d of the bound, scaled through full fine-tuning."
    ),
    reading=(
        "Further right means that a method fits its training examples better than new ones. If the bound predicted the "
        "gap, the points would lie on the grey bars; points off them say that something other than the number of "
        "parameters decides. Only the shape of the bound is drawn: the bound itself, in the table and under the "
        "cursor, exceeds 1 and so says nothing about any method with more than a few dozen parameters. A small gap is "
        "no merit by itself: a method that has learned nothing has none, so look at its score too."
    ),
    source=(DING_2022, AGHAJANYAN_2020, ARORA_2018),
    example=_example,
)
