"""The fraction of full fine-tuning's memory that each method saves, against the batch size."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, counted, fade, plain

FULL = "full fine-tuning"
_CLAIMED = {"3/4": 3 / 4, "1/3": 1 / 3}
_COLUMNS = {
    "model": Column("the PLM", TEXT),
    "label": Column(f"the method; {FULL!r} is what the others are measured against", TEXT),
    "how": Column('"counted" storage by storage, or "measured" in a process of its own', TEXT),
    "batch_size": Column("texts in a batch", "count"),
    "peak": Column("peak memory of a training step", "bytes"),
}


def saved(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of all methods but full fine-tuning, with `saved` = 1 − peak / full fine-tuning's peak."""
    keys = ["model", "how", "batch_size"]
    full = table[table.label == FULL].drop_duplicates(keys).set_index(keys).peak.rename("full")
    rows = table[table.label != FULL].join(full, on=keys)
    return rows.assign(saved=1 - rows.peak / rows.full).dropna(subset=["saved"])


def by_size(table: pd.DataFrame, quantity: str) -> list[str]:
    """The models, the smallest first."""
    return list(table.groupby("model")[quantity].min().sort_values().index)


def full_first(table: pd.DataFrame, quantity: str) -> list[str]:
    """The methods: full fine-tuning, then those that take least of the quantity first."""
    others = table[table.label != FULL].groupby("label")[quantity].median().sort_values().index
    return [FULL, *others] if (table.label == FULL).any() else list(others)


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    rows = saved(table)
    models, labels = by_size(table, "peak"), full_first(rows.assign(peak=-rows.saved), "peak")
    columns = min(len(models), 4)
    lines = -(-len(models) // columns)
    figure = make_subplots(
        lines, columns, shared_xaxes="all", shared_yaxes="all", horizontal_spacing=0.02, vertical_spacing=0.16 / lines,
        subplot_titles=[plain(model) for model in models],
    )  # fmt: skip
    figure.update_annotations(font=None)
    sizes = sorted(table.batch_size.unique())
    for i, model in enumerate(models):
        panel = {"row": i // columns + 1, "col": i % columns + 1}
        _claims(figure, sizes, theme, panel, shown=i == 0)
        for label in [label for label in labels if label != FULL]:
            part = rows[(rows.model == model) & (rows.label == label)].sort_values("batch_size")
            _line(figure, part, theme, labels.index(label), plain(label), panel, shown=i == 0)
        if i // columns == lines - 1 or i + columns >= len(models):
            figure.update_xaxes(title_text="batch size [count]", showticklabels=True, **panel)
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=[f"{size:g}" for size in sizes])
    low = float(rows.saved.min()) if len(rows) else 0.0
    high = max(3 / 4, float(rows.saved.max()) if len(rows) else 0.0)
    figure.update_yaxes(range=[max(-1.0, min(-0.05, low - 0.05)), high + 0.07], tickformat=".0%")
    for line in range(1, lines + 1):
        figure.update_yaxes(title_text="memory saved [fraction]", row=line, col=1)
    figure.update_layout(height=360 if lines == 1 else 250 * lines)
    return figure


def _claims(figure: go.Figure, sizes: list[float], theme: Theme, panel: dict[str, int], *, shown: bool) -> None:
    """Grey lines at what the source claims: up to 3/4 at small batches, at least 1/3 at large ones."""
    for name, level in _CLAIMED.items():
        figure.add_scatter(
            x=[f"{size:g}" for size in sizes], y=[level] * len(sizes), mode="lines", hoverinfo="skip",
            line={"color": theme.muted, "width": 1, "dash": "dash" if name == "3/4" else "dot"},
            name=f"claimed: {'up to' if name == '3/4' else 'at least'} {name}", showlegend=shown, **panel,
        )  # fmt: skip


def _line(
    figure: go.Figure, part: pd.DataFrame, theme: Theme, i: int, name: str, panel: dict[str, int], *, shown: bool
) -> None:
    for how, own in part.groupby("how", sort=False):
        measured = how == "measured"
        figure.add_scatter(
            x=[f"{size:g}" for size in own.batch_size], y=own.saved, name=name, legendgroup=name,
            mode="markers" if measured else "lines+markers", showlegend=shown and not measured,
            line={"color": theme.colour(i), "width": 1.8},
            marker={"color": theme.colour(i), "size": 11 if measured else 6,
                    "symbol": "circle-open" if measured else theme.symbol(i)},
            hovertemplate=f"batch %{{x}}: %{{y:.1%}} saved<extra>{name}, {plain(how)}</extra>", **panel,
        )  # fmt: skip
    if part.empty and shown:  # the method runs on other models only
        figure.add_scatter(
            x=[None], y=[None], name=name, legendgroup=name, mode="lines+markers", line={"color": theme.colour(i)},
            marker={"color": fade(theme.colour(i), 1)}, **panel,
        )  # fmt: skip


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per model and batch size, the methods that save most and least."""
    rows = []
    for (model, how, size), part in saved(table).groupby(["model", "how", "batch_size"], sort=False):
        ordered = part.sort_values("saved")
        best, worst = ordered.iloc[-1], ordered.iloc[0]
        rows.append(
            {"model": model, "how": how, "batch size [count]": size, "saves most": best.label,
             "saved most [fraction]": best.saved, "saves least": worst.label, "saved least [fraction]": worst.saved}
        )  # fmt: skip
    if not rows:
        full = table.drop_duplicates("model")
        return pd.DataFrame({"model": full.model, "saves most": "nothing to compare: give full fine-tuning beside it"})
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    rows = saved(table)
    if rows.empty:
        return "No method has full fine-tuning beside it, so no fraction of its memory can be given."
    sentences = []
    for size, part in rows.groupby("batch_size"):
        ordered = part.sort_values("saved")
        best, worst = ordered.iloc[-1], ordered.iloc[0]
        sentences.append(
            f"Batch size {size:g}: from {worst.saved:.0%} ({worst.label}, {worst.model}) to {best.saved:.0%} "
            f"({best.label}, {best.model}) of full fine-tuning's memory saved, over "
            f"{counted(part.model.nunique(), 'model')}."
        )
    return " ".join(sentences)


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
    summary=_summary,
    describe=_describe,
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
