"""What a training step keeps in memory: weights, optimiser, gradients, activations."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed
from lab.figures.memory_saved import by_size, full_first
from lab.figures.sources import DING_2022
from lab.figures.style import Theme
from lab.statistics import Answer

_GIB = 2**30
_PARTS = {
    "parameters": "weights",
    "optimizer": "AdamW's moments",
    "gradients": "gradients",
    "activations": "activations and intermediate results",
}
_COLUMNS = columns(
    "training_memory",
    "model",
    "label",
    "how",
    "batch_size",
    "peak",
    "parameters",
    "optimizer",
    "gradients",
    "activations",
)


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    models, sizes = by_size(table, "peak"), sorted(table.batch_size.unique())
    grid = Grid(theme, wrap=len(sizes), height=60 + 28 * table.label.nunique(), share_y=True)
    for model in models:
        for i, size in enumerate(sizes):
            part = table[(table.model == model) & (table.batch_size == size)]
            panel, whole = grid.panel(f"{model}, batch {size:g}", new_row=i == 0), part[part.parameters.notna()]
            for column, name in _PARTS.items():
                hover = "%{y}: %{x:.3g} GiB"
                if len(whole):
                    panel.bars(whole[column] / _GIB, whole.label, name, horizontal=True, stacked=True, hover=hover)
            measured = part[part.how == "measured"]
            if len(measured):
                bar: dict[str, Any] = {
                    "symbol": "line-ns-open",
                    "size": 14,
                    "colour": theme.ink,
                    "hover": "%{y}: %{x:.3g} GiB",
                }
                panel.points(measured.peak / _GIB, measured.label, "measured", **bar)
    grid.x("peak memory [GiB]", zero=True, options={"nticks": 5})
    return grid.y(categories=full_first(table, "peak"))


def _answer(table: pd.DataFrame) -> Answer:
    """Per model, method and batch size: the peak and its parts."""
    parts = {"peak": "peak", **_PARTS}
    rows = table.assign(**{f"{name} [GiB]": table[column] / _GIB for column, name in parts.items()})
    kept = ["model", "label", "how", "batch_size", *(f"{name} [GiB]" for name in parts.values())]
    found = rows[kept].rename(columns={"batch_size": "batch size [count]"}).reset_index(drop=True)
    told = []
    for (model, size), part in table[table.how == "counted"].groupby(["model", "batch_size"], sort=False):
        least, most = (part.sort_values("peak").iloc[i] for i in (0, -1))
        told.append(
            f"{model}, batch {size:g}: from {least.peak / _GIB:.3g} ({least.label}) "
            f"to {most.peak / _GIB:.3g} ({most.label})"
        )
    if not told:
        return Answer("Measured peaks of training steps, without their parts.", found)
    return Answer(listed("Peak memory of a training step [GiB]", told), found)


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
    conclude=_answer,
    group="methods",
    order=11,
    averages=("task", "seed"),
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
