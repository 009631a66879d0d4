"""The work of a training step: operations of its three passes, and its time."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, half_width, listed
from lab.figures.memory_saved import FULL, by_size, full_first
from lab.figures.sources import DING_2022
from lab.figures.style import Theme
from lab.statistics import Answer, Interval, mean_interval

_PASSES = {
    "forward_flops": "forward",
    "activation_flops": "backward to activations",
    "weight_flops": "backward to weights",
}
_KEYS = ["model", "batch_size"]
_COLUMNS = columns(
    "training_compute", "model", "label", "batch_size", "forward_flops", "activation_flops", "weight_flops"
)
_OPTIONAL = columns("training_rounds", "step_seconds", "round")
_ROUNDS = "training_rounds"
"""The table with every round of a timing; `training_compute` holds each method's fastest round alone."""


def relative(table: pd.DataFrame) -> pd.DataFrame:
    """Passes as fractions of all of full fine-tuning's operations, and seconds as a fraction of its seconds.

    Seconds are compared inside a round. Where rounds are known, the fastest of them is none beside them.
    """
    unknown = {name: nan for name in _OPTIONAL if name not in table}
    rows = table.assign(**unknown).rename(columns={"step_seconds": "seconds"})
    rows = rows.assign(flops=rows[list(_PASSES)].sum(axis=1, min_count=3))
    known = rows["round"].notna().groupby([rows[name] for name in (*_KEYS, "label")]).transform("any")
    rows = rows[~(known & rows["round"].isna() & rows.seconds.notna())].fillna({"round": -1})
    full = rows[rows.label == FULL]
    work = full.groupby(_KEYS)[["flops"]].max()
    time = full.groupby([*_KEYS, "round"])[["seconds"]].min()
    joined = rows.join(work.add_prefix("full_"), on=_KEYS).join(time.add_prefix("full_"), on=[*_KEYS, "round"])
    shares = {name: joined[column] / joined.full_flops for column, name in _PASSES.items()}
    return joined.assign(**shares, work=joined.flops / joined.full_flops, time=joined.seconds / joined.full_seconds)


def _over_rounds(rows: pd.DataFrame) -> dict[Any, Interval]:
    """Model, batch size, method -> time as a fraction of full fine-tuning's, mean and interval over rounds."""
    timed = rows[rows.time.notna()].groupby([*_KEYS, "label"], sort=False)
    return {key: mean_interval(own.time.tolist()) for key, own in timed}


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    rows = relative(table)
    labels = full_first(rows, "work")
    grid = Grid(theme, wrap=3, height=60 + 26 * len(labels), share_x=True, share_y=True)
    times = _over_rounds(rows)
    timed = sorted({size for _, size, _ in times})
    for model in by_size(rows.assign(size=rows.flops.fillna(inf)), "size"):
        panel, part = grid.panel(model), rows[rows.model == model]
        counts = part[part.work.notna()].sort_values("batch_size").drop_duplicates("label", keep="last")
        for name in _PASSES.values() if len(counts) else ():
            panel.bars(counts[name], counts.label, name, horizontal=True, stacked=True, hover="%{y}: %{x:.1%}")
        for i, size in enumerate(timed):
            own = {label: found for (of, at, label), found in times.items() if (of, at) == (model, size)}
            half = [half_width(found) for found in own.values()]
            seconds = [part[(part.batch_size == size) & (part.label == label)].seconds.mean() for label in own]
            symbol = ("circle-open", "square-open", "diamond-open")[i % 3]
            look: dict[str, Any] = {"symbol": symbol, "size": 9, "colour": theme.ink, "across": half}
            look |= {"data": [seconds, [_said(found) for found in own.values()]]}
            hover = "%{y}: %{x:.1%}%{customdata[1]}, %{customdata[0]:.3g} s"
            if own:
                panel.points(
                    [f.estimate for f in own.values()], list(own), f"time, batch {size:g}", hover=hover, **look
                )
    grid.x("share of full fine-tuning [fraction]", zero=True, percent=True)
    return grid.y(categories=labels)


def _said(found: Interval) -> str:
    return f" ± {half_width(found):.1%} over {found.n} rounds" if found.n > 1 else ""


def _answer(table: pd.DataFrame) -> Answer:
    """Per model, batch size and method: operations and time against full fine-tuning's."""
    rows = relative(table)
    times = _over_rounds(rows)
    names = {
        "batch_size": "batch size [count]",
        "flops": "operations [FLOP]",
        "work": "of full [fraction]",
        "seconds": "step [s]",
        "time": "time of full [fraction]",
        "low": "95 % interval over rounds, from [fraction]",
        "high": "to [fraction]",
        "rounds": "rounds [count]",
    }
    grouped = rows.groupby([*_KEYS, "label"], sort=False)[["flops", "work", "seconds"]].mean().reset_index()
    bounds = [times.get(key, _UNKNOWN) for key in grouped[[*_KEYS, "label"]].itertuples(index=False, name=None)]
    grouped = grouped.assign(
        time=[f.estimate for f in bounds],
        low=[f.low if f.n > 1 else nan for f in bounds],
        high=[f.high if f.n > 1 else nan for f in bounds],
        rounds=[f.n or nan for f in bounds],
    )
    told = []
    for quantity, name in (("work", "operations"), ("time", "time")):
        own = grouped[grouped[quantity].notna() & (grouped.label != FULL)]
        for model, part in own.groupby("model", sort=False):
            ends = [part.sort_values(quantity, kind="stable").iloc[i] for i in (0, -1)]
            least, most = (f"{end[quantity]:.0%}{_bounded(end, quantity)}" for end in ends)
            told.append(f"{model}, {name}: {least} to {most}")
    found = grouped.rename(columns=names)
    if not told:
        return Answer("Operations of training steps; full fine-tuning is not among them to compare with.", found)
    return Answer(listed("A step beside full fine-tuning's", told), found)


_UNKNOWN = Interval(nan, nan, nan, 0)


def _bounded(row: pd.Series, quantity: str) -> str:
    """Whose a share is, with its interval and batch size where it is of a timing."""
    if quantity != "time":
        return f" ({row.label})"
    bounds = f" [{row.low:.0%}, {row.high:.0%}]" if row.low == row.low else ""
    return f"{bounds} ({row.label}, batch {row.batch_size:g})"


def _example() -> pd.DataFrame:
    """Made-up work: thirds for full fine-tuning, no backward pass to weights elsewhere; five rounds of a timing."""
    rows = []
    for size in (1, 64):
        for label, passes, seconds in (
            (FULL, (1.0, 1.02, 0.98), 0.3),
            ("LoRA", (1.01, 1.01, 0.01), 0.2),
            ("prompt", (1.8, 1.82, 0.0), 0.36),
        ):
            rows.append(("small", label, size, *[1e9 * size * x for x in passes], nan, nan))
            for i, slow in enumerate((1.0, 1.1, 1.0, 1.3, 1.05)):
                taken = seconds * size * slow * (1 + 0.04 * (-1) ** i * (label != FULL))
                rows.append(("small", label, size, *[nan] * 3, taken, i))
    return pd.DataFrame(rows, columns=[*_COLUMNS, *_OPTIONAL])


TRAINING_COMPUTE = Figure(
    name="training_compute",
    title="Work and time of a training step",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    also=(_ROUNDS,),
    build=_build,
    conclude=_answer,
    group="methods",
    order=12,
    averages=("task", "seed"),
    caption=(
        "Floating-point operations of one training step's matrix products, by pass, as shares of full fine-tuning's "
        "(largest batch counted), and the measured time of the step against full fine-tuning's of the same round (open "
        "marks: mean over rounds, in each of which all methods take their turn; bars: Student's 95 % interval of that "
        "mean; a mark without a bar is the fastest of rounds that were not kept)."
    ),
    reading=(
        "The backward pass to weights is a third of full fine-tuning's work, and nearly all of it goes; the forward "
        "pass and the backward pass to activations stay, since the loss is far from the weights that move. So a delta "
        "saves a third of the work at most, unless it sits in the last layers only. Time follows the work at large "
        "batches; at batch size 1 full fine-tuning also pays for updating every weight."
    ),
    source=(DING_2022,),
    example=_example,
)
