"""The fraction of full fine-tuning's memory that each method saves, against the batch size."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, counted
from lab.statistics import Answer
from lab.statistics.memory import FULL, memory_saved

_COLUMNS = columns("memory_saved", "model", "label", "how", "batch_size", "peak")


def by_size(table: pd.DataFrame, quantity: str) -> list[str]:
    """The models, the smallest first."""
    return list(table.groupby("model")[quantity].min().sort_values().index)


def full_first(table: pd.DataFrame, quantity: str) -> list[str]:
    """The methods: full fine-tuning, then those that take least of the quantity first."""
    others = table[table.label != FULL].groupby("label")[quantity].median().sort_values().index
    return [FULL, *others] if (table.label == FULL).any() else list(others)


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    rows = memory_saved(table)
    labels = [label for label in full_first(rows.assign(peak=-rows.saved), "peak") if label != FULL]
    grid = Grid(theme, wrap=4, height=340, share_x=True, share_y=True, labels=[*labels, *table.label])
    for model in by_size(table, "peak"):
        panel, own = grid.panel(model), rows[rows.model == model].sort_values("batch_size")
        panel.rule(y=3 / 4, name="claimed: up to 3/4", dash="dash").rule(y=1 / 3, name="claimed: at least 1/3")
        for label in labels:
            for how, part in own[own.label == label].groupby("how", sort=False):
                look, x = grid.look(label), [f"{size:g}" for size in part.batch_size]
                style: dict[str, Any] = {"colour": look.colour, "hover": "batch %{x}: %{y:.1%} saved", "key": how}
                if how == "measured":
                    panel.points(x, part.saved, label, symbol="circle-open", size=11, **style)
                else:
                    panel.line(x, part.saved, label, symbol=look.symbol, **style)
    low, high = (float(f(rows.saved)) if len(rows) else 0.0 for f in (min, max))
    sizes = [f"{size:g}" for size in sorted(table.batch_size.unique())]
    grid.x("batch size [count]", categories=sizes)
    ends = (max(-1.0, min(-0.05, low - 0.05)), max(3 / 4, high) + 0.07)
    return grid.y("memory saved [fraction]", range=ends, percent=True)


def _answer(table: pd.DataFrame) -> Answer:
    """Per model and batch size, the methods that save most and least."""
    found, rows = memory_saved(table), []
    for (model, how, size), part in found.groupby(["model", "how", "batch_size"], sort=False):
        ordered = part.sort_values("saved")
        best, worst = ordered.iloc[-1], ordered.iloc[0]
        rows.append((model, how, size, best.label, best.saved, worst.label, worst.saved))
    if not rows:
        full = table.drop_duplicates("model")
        nothing = pd.DataFrame(
            {"model": full.model, "saves most": "nothing to compare: give full fine-tuning beside it"}
        )
        return Answer("No method has full fine-tuning beside it, so no fraction of its memory can be given.", nothing)
    names = ["model", "how", "batch size [count]", "saves most", "saved most [fraction]", "saves least"]
    told = []
    for _, part in found.groupby("batch_size"):
        worst, best = (part.sort_values("saved").iloc[i] for i in (0, -1))
        told.append(
            f"at batch size {best.batch_size:g}: from {worst.saved:.0%} ({worst.label}, {worst.model}) "
            f"to {best.saved:.0%} ({best.label}, {best.model})"
        )
    lead = f"Full fine-tuning's memory saved, over {counted(found.model.nunique(), 'model')}"
    return Answer(listed(lead, told), pd.DataFrame(rows, columns=[*names, "saved least [fraction]"]))


def _example() -> pd.DataFrame:
    """Made-up peaks: 4 numbers per weight for full fine-tuning, 1 for the others, and activations with the batch."""
    rows = []
    for model, size in (("small", 1e8), ("large", 3e9)):
        for label, weights, activations in ((FULL, 4.0, 1.0), ("LoRA", 1.02, 0.75), ("prompt", 1.0, 1.3)):
            for batch in (1, 8, 64):
                peak = 4 * size * weights + 3e7 * batch * activations
                rows.append((model, label, "counted", batch, peak))
                if model == "small" and label != "prompt":
                    rows.append((model, label, "measured", batch, 1.02 * peak))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


MEMORY_SAVED = Figure(
    name="memory_saved",
    title="Memory saved against full fine-tuning",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="methods",
    order=10,
    averages=("task", "seed"),
    caption=(
        "Peak memory of one training step (AdamW, float32) that each method saves against full fine-tuning of the same "
        "PLM, by batch size: counted storage by storage (lines) and measured (rings), with random weights throughout. "
        "Grey: what the source claims."
    ),
    reading=(
        "A line at 50 % needs half of full fine-tuning's memory; below zero a method needs more. Weights stay whatever "
        "the method: of the four numbers per weight (itself, gradient, two moments) one remains, so where activations "
        "are few no line can pass 3/4. Lines fall with the batch because activations grow with it, and every method "
        "that reaches the first layers has to keep most of them; the last layer alone does not, and rises. What "
        "gradient checkpointing or fused attention would change is not here. The PLMs have random weights, most of "
        "them only their configuration: memory depends on shapes, not on values."
    ),
    source=(DING_2022,),
    example=_example,
    table="training_memory",
)
