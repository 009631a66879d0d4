"""The work of a training step: operations of its three passes, and its time."""

from __future__ import annotations

from math import inf
from typing import Any

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed
from lab.figures.memory_saved import FULL, by_size, full_first
from lab.figures.sources import DING_2022
from lab.figures.style import Theme
from lab.statistics import Answer

_PASSES = {
    "forward_flops": "forward",
    "activation_flops": "backward to activations",
    "weight_flops": "backward to weights",
}
_KEYS = ["model", "batch_size"]
_COLUMNS = columns(
    "training_compute", "model", "label", "batch_size", "forward_flops", "activation_flops", "weight_flops"
)
_OPTIONAL = columns("training_compute", "step_seconds")


def relative(table: pd.DataFrame) -> pd.DataFrame:
    """Passes as fractions of all of full fine-tuning's operations, and seconds as a fraction of its seconds."""
    rows = table.assign(seconds=table["step_seconds"] if "step_seconds" in table else float("nan"))
    rows = rows.assign(flops=rows[list(_PASSES)].sum(axis=1, min_count=3))
    full = rows[rows.label == FULL].groupby(_KEYS)[["flops", "seconds"]].max()
    joined = rows.join(full.add_prefix("full_"), on=_KEYS)
    shares = {name: joined[column] / joined.full_flops for column, name in _PASSES.items()}
    return joined.assign(**shares, work=joined.flops / joined.full_flops, time=joined.seconds / joined.full_seconds)


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    rows = relative(table)
    labels = full_first(rows, "work")
    grid = Grid(theme, wrap=3, height=60 + 26 * len(labels), share_x=True, share_y=True)
    timed = sorted(rows.batch_size[rows.time.notna()].unique())
    for model in by_size(rows.assign(size=rows.flops.fillna(inf)), "size"):
        panel, part = grid.panel(model), rows[rows.model == model]
        counts = part[part.work.notna()].sort_values("batch_size").drop_duplicates("label", keep="last")
        for name in _PASSES.values() if len(counts) else ():
            panel.bars(counts[name], counts.label, name, horizontal=True, stacked=True, hover="%{y}: %{x:.1%}")
        for i, size in enumerate(timed):
            own = part[(part.batch_size == size) & part.time.notna()]
            symbol = ("circle-open", "square-open", "diamond-open")[i % 3]
            look: dict[str, Any] = {"symbol": symbol, "size": 9, "colour": theme.ink, "data": [own.seconds]}
            hover = "%{y}: %{x:.1%}, %{customdata[0]:.3g} s"
            if len(own):
                panel.points(own.time, own.label, f"time, batch {size:g}", hover=hover, **look)
    grid.x("share of full fine-tuning [fraction]", zero=True, percent=True)
    return grid.y(categories=labels)


def _answer(table: pd.DataFrame) -> Answer:
    """Per model, batch size and method: operations and time against full fine-tuning's."""
    rows = relative(table)
    names = {
        "batch_size": "batch size [count]",
        "flops": "operations [FLOP]",
        "work": "of full [fraction]",
        "seconds": "step [s]",
        "time": "time of full [fraction]",
    }
    grouped = rows.groupby([*_KEYS, "label"], sort=False)[["flops", "work", "seconds", "time"]].max()
    found, told = grouped.reset_index().rename(columns=names), []
    for quantity, name in (("work", "operations"), ("time", "time")):
        own = rows[rows[quantity].notna() & (rows.label != FULL)]
        for model, part in own.groupby("model", sort=False):
            least, most = (part.sort_values(quantity).iloc[i] for i in (0, -1))
            told.append(
                f"{model}, {name}: {least[quantity]:.0%} ({least.label}) to {most[quantity]:.0%} ({most.label})"
            )
    if not told:
        return Answer("Operations of training steps; full fine-tuning is not among them to compare with.", found)
    return Answer(listed("A step beside full fine-tuning's", told), found)


def _example() -> pd.DataFrame:
    """Made-up work: thirds for full fine-tuning, no backward pass to weights elsewhere."""
    rows = []
    for size in (1, 64):
        for label, passes, seconds in (
            (FULL, (1.0, 1.02, 0.98), 0.3),
            ("LoRA", (1.01, 1.01, 0.01), 0.2),
            ("prompt", (1.8, 1.82, 0.0), 0.36),
        ):
            rows.append(("small", label, size, *[1e9 * size * x for x in passes], float("nan")))
            rows.append(("small", label, size, *[float("nan")] * 3, seconds * size))
    return pd.DataFrame(rows, columns=[*_COLUMNS, "step_seconds"])


TRAINING_COMPUTE = Figure(
    name="training_compute",
    title="Work and time of a training step",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    conclude=_answer,
    group="methods",
    order=12,
    averages=("task", "seed"),
    caption=(
        "Floating-point operations of one training step's matrix products, by pass, as shares of full fine-tuning's "
        "(largest batch counted), and the measured time of the step against full fine-tuning's (open marks)."
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
