"""The work of a training step: operations of its three passes, and its time."""

from __future__ import annotations

from math import inf

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.memory_saved import FULL, by_size, full_first
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, plain

_PASSES = {
    "forward_flops": "forward",
    "activation_flops": "backward to activations",
    "weight_flops": "backward to weights",
}
_KEYS = ["model", "batch_size"]
_COLUMNS = {
    "model": Column("the PLM", TEXT),
    "label": Column(f"the method; {FULL!r} is what the others are measured against", TEXT),
    "batch_size": Column("texts in a batch", "count"),
    "forward_flops": Column("matrix products of the forward pass; null where timed", "FLOP"),
    "activation_flops": Column("of the backward pass to activations; null where timed", "FLOP"),
    "weight_flops": Column("of the backward pass to weights; null where timed", "FLOP"),
}
_OPTIONAL = {"step_seconds": Column("time of a step; null where counted", "s")}


def relative(table: pd.DataFrame) -> pd.DataFrame:
    """Passes as fractions of all of full fine-tuning's operations, and seconds as a fraction of its seconds."""
    rows = table.assign(seconds=table["step_seconds"] if "step_seconds" in table else float("nan"))
    rows = rows.assign(flops=rows[list(_PASSES)].sum(axis=1, min_count=3))
    full = rows[rows.label == FULL].groupby(_KEYS)[["flops", "seconds"]].max()
    joined = rows.join(full.add_prefix("full_"), on=_KEYS)
    shares = {name: joined[column] / joined.full_flops for column, name in _PASSES.items()}
    return joined.assign(**shares, work=joined.flops / joined.full_flops, time=joined.seconds / joined.full_seconds)


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    rows = relative(table)
    models, labels = by_size(rows.assign(size=rows.flops.fillna(inf)), "size"), full_first(rows, "work")
    columns = min(len(models), 3)
    lines = -(-len(models) // columns)
    figure = make_subplots(
        lines, columns, shared_xaxes="all", shared_yaxes="all", horizontal_spacing=0.03, vertical_spacing=0.2 / lines,
        subplot_titles=[plain(model) for model in models],
    )  # fmt: skip
    figure.update_annotations(font=None)
    timed = sorted(rows.batch_size[rows.time.notna()].unique())
    shown: set[str] = set()
    for i, model in enumerate(models):
        panel = {"row": i // columns + 1, "col": i % columns + 1}
        part = rows[rows.model == model]
        counts = part[part.work.notna()].sort_values("batch_size").drop_duplicates("label", keep="last")
        for j, name in enumerate(_PASSES.values()):
            figure.add_bar(
                y=[plain(label) for label in counts.label], x=counts[name], orientation="h", name=name,
                legendgroup=name, showlegend=name not in shown and len(counts) > 0, marker={"color": theme.colour(j)},
                hovertemplate=f"%{{y}}: %{{x:.1%}}<extra>{name}</extra>", **panel,
            )  # fmt: skip
            shown |= {name} if len(counts) else set()
        for size in timed:
            _times(figure, part[part.batch_size == size], size, timed.index(size), theme, panel, shown)
        if i // columns == lines - 1 or i + columns >= len(models):
            figure.update_xaxes(title_text="share of full fine-tuning [fraction]", showticklabels=True, **panel)
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(categoryorder="array", categoryarray=[plain(label) for label in reversed(labels)])
    figure.update_layout(barmode="stack", bargap=0.3, height=max(300, (26 * len(labels) + 60) * lines))
    return figure


def _times(
    figure: go.Figure, part: pd.DataFrame, size: float, i: int, theme: Theme, panel: dict[str, int], shown: set[str]
) -> None:
    part = part[part.time.notna()]
    if part.empty:
        return
    name = f"time, batch {size:g}"
    figure.add_scatter(
        y=[plain(label) for label in part.label], x=part.time, mode="markers", name=name, legendgroup=name,
        showlegend=name not in shown, customdata=part.seconds,
        marker={"symbol": ("circle-open", "square-open", "diamond-open")[i % 3], "size": 9, "color": theme.ink},
        hovertemplate=f"%{{y}}: %{{x:.1%}}, %{{customdata:.3g}} s<extra>{name}</extra>", **panel,
    )  # fmt: skip
    shown.add(name)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per model, batch size and method: operations and time against full fine-tuning's."""
    rows = relative(table).groupby([*_KEYS, "label"], sort=False).agg(
        {"flops": "max", "work": "max", "seconds": "max", "time": "max"}
    )  # fmt: skip
    names = {"batch_size": "batch size [count]", "flops": "operations [FLOP]", "work": "of full [fraction]",
             "seconds": "step [s]", "time": "time of full [fraction]"}  # fmt: skip
    return rows.reset_index().rename(columns=names)


def _describe(table: pd.DataFrame) -> str:
    rows = relative(table)
    sentences = []
    for quantity, name in (("work", "operations"), ("time", "time")):
        own = rows[rows[quantity].notna() & (rows.label != FULL)]
        for model, part in own.groupby("model", sort=False):
            ordered = part.sort_values(quantity)
            least, most = ordered.iloc[0], ordered.iloc[-1]
            sentences.append(
                f"{model}: a step takes {least[quantity]:.0%} ({least.label}) to {most[quantity]:.0%} ({most.label}) "
                f"of full fine-tuning's {name}."
            )
    return " ".join(sentences) or "Operations of training steps; full fine-tuning is not among them to compare with."


def _example() -> pd.DataFrame:
    """Made-up work: thirds for full fine-tuning, no backward pass to weights elsewhere."""
    rows = []
    for size in (1, 64):
        for label, passes, seconds in (
            (FULL, (1.0, 1.02, 0.98), 0.3), ("LoRA", (1.01, 1.01, 0.01), 0.2), ("prompt", (1.8, 1.82, 0.0), 0.36)
        ):  # fmt: skip
            rows.append(("small", label, size, *[1e9 * size * x for x in passes], float("nan")))
            rows.append(("small", label, size, *[float("nan")] * 3, seconds * size))
    return pd.DataFrame(rows, columns=[*_COLUMNS, "step_seconds"])


TRAINING_COMPUTE = Figure(
    name="training_compute",
    title="Work and time of a training step",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
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
