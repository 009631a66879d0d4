"""What a training step keeps in memory: weights, optimiser, gradients, activations."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.memory_saved import by_size, full_first
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, plain

_GIB = 2**30
_PARTS = {
    "parameters": "weights",
    "optimizer": "AdamW's moments",
    "gradients": "gradients",
    "activations": "activations and intermediate results",
}
_COLUMNS = {
    "model": Column("the PLM", TEXT),
    "label": Column("the method", TEXT),
    "how": Column('"counted" storage by storage, or "measured" in a process of its own', TEXT),
    "batch_size": Column("texts in a batch", "count"),
    "peak": Column("peak memory of a training step", "bytes"),
    "parameters": Column("of it the PLM's and the delta's parameters; null where measured", "bytes"),
    "optimizer": Column("of it the optimiser's moments; null where measured", "bytes"),
    "gradients": Column("of it gradients of trained numbers; null where measured", "bytes"),
    "activations": Column("of it activations and intermediate results; null where measured", "bytes"),
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    models, sizes = by_size(table, "peak"), sorted(table.batch_size.unique())
    labels = full_first(table, "peak")
    figure = make_subplots(
        len(models), len(sizes), shared_yaxes=True, horizontal_spacing=0.03, vertical_spacing=0.28 / (len(models) + 1),
        subplot_titles=[f"{plain(model)}, batch {size:g}" for model in models for size in sizes],
    )  # fmt: skip
    figure.update_annotations(font=None)
    shown: set[str] = set()
    for row, model in enumerate(models, start=1):
        for column, size in enumerate(sizes, start=1):
            part = table[(table.model == model) & (table.batch_size == size)]
            _bars(figure, part, theme, {"row": row, "col": column}, shown)
            figure.update_xaxes(rangemode="tozero", nticks=5, row=row, col=column)
    for column in range(1, len(sizes) + 1):
        figure.update_xaxes(title_text="peak memory [GiB]", row=len(models), col=column)
    figure.update_yaxes(categoryorder="array", categoryarray=[plain(label) for label in reversed(labels)])
    figure.update_layout(barmode="stack", bargap=0.3, height=max(300, (28 * len(labels) + 60) * len(models)))
    return figure


def _bars(figure: go.Figure, part: pd.DataFrame, theme: Theme, panel: dict[str, int], shown: set[str]) -> None:
    whole = part[part.parameters.notna()]
    for i, (column, name) in enumerate(_PARTS.items()):
        if len(whole):
            figure.add_bar(
                y=[plain(label) for label in whole.label], x=whole[column] / _GIB, orientation="h", name=name,
                legendgroup=name, showlegend=name not in shown, marker={"color": theme.colour(i), "line": {"width": 0}},
                hovertemplate=f"%{{y}}: %{{x:.3g}} GiB<extra>{name}</extra>", **panel,
            )  # fmt: skip
            shown.add(name)
    measured = part[part.how == "measured"]
    if len(measured):
        name = "measured"
        figure.add_scatter(
            y=[plain(label) for label in measured.label], x=measured.peak / _GIB, mode="markers", name=name,
            legendgroup=name, showlegend=name not in shown,
            marker={"symbol": "line-ns-open", "size": 14, "color": theme.ink, "line": {"width": 2}},
            hovertemplate="%{y}: %{x:.3g} GiB<extra>measured</extra>", **panel,
        )  # fmt: skip
        shown.add(name)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per model, method and batch size: the peak and its parts."""
    rows = table.assign(
        **{f"{name} [GiB]": table[column] / _GIB for column, name in {"peak": "peak", **_PARTS}.items()}
    )
    kept = ["model", "label", "how", "batch_size", "peak [GiB]", *(f"{name} [GiB]" for name in _PARTS.values())]
    return rows[kept].rename(columns={"batch_size": "batch size [count]"}).reset_index(drop=True)


def _describe(table: pd.DataFrame) -> str:
    sentences = []
    for (model, size), part in table[table.how == "counted"].groupby(["model", "batch_size"], sort=False):
        ordered = part.sort_values("peak")
        least, most = ordered.iloc[0], ordered.iloc[-1]
        sentences.append(
            f"{model}, batch {size:g}: from {least.peak / _GIB:.3g} GiB ({least.label}) to {most.peak / _GIB:.3g} GiB "
            f"({most.label})."
        )
    return " ".join(sentences) or "Measured peaks of training steps, without their parts."


def _example() -> pd.DataFrame:
    """Made-up memory of a PLM of 0.4 GB."""
    rows: list[tuple[object, ...]] = []
    for label, trained, kept in (("full fine-tuning", 1.0, 1.0), ("LoRA", 0.01, 0.8), ("prompt", 0.001, 1.6)):
        for size in (1, 8):
            parts = (0.4e9, 0.8e9 * trained, 0.4e9 * trained / size, 0.05e9 * kept * size)
            measured = size == 1 and label != "prompt"
            rows.append(("small", label, "counted", size, sum(parts), *parts))
            rows += [("small", label, "measured", size, 1.03 * sum(parts), *[float("nan")] * 4)] if measured else []
    return pd.DataFrame(rows, columns=list(_COLUMNS))


TRAINING_MEMORY = Figure(
    name="training_memory",
    title="Where a training step's memory goes",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Memory in use when a training step (AdamW, float32) uses most, by method: weights, the optimiser's moments, "
        "gradients and activations, counted storage by storage; strokes: resident memory measured in a process. "
        "The PLMs have random weights."
    ),
    reading=(
        "Weights are there whatever the method. Moments and gradients shrink to the delta's size, and with them most "
        "of what full fine-tuning needs at batch size 1. Activations grow with the batch; a frozen matrix need not "
        "keep its input, which saves some of them, and a long prompt adds positions, which costs some. Gradients look "
        "small where the peak comes before they exist. Scales differ between panels. Random weights, or none but their "
        "shapes, change nothing here: memory depends on shapes, not on values."
    ),
    source=(DING_2022,),
    example=_example,
)
