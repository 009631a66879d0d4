"""What a delta takes on disk beside its PLM, and how long it takes to load."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, log_ticks, plain

PLM = "the PLM"
_COLUMNS = {
    "model": Column("the PLM", TEXT),
    "label": Column(f"the method, or {PLM!r} itself", TEXT),
    "bytes": Column("size of the file", "bytes"),
    "fraction": Column("size as a fraction of the PLM's file", "1"),
    "load_seconds": Column("time to read the file into memory", "s"),
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    models, labels = list(dict.fromkeys(table.model)), list(dict.fromkeys(table.label))
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    for i, model in enumerate(models):
        part = table[table.model == model]
        for column, (values, unit) in enumerate(((part.bytes / 1e6, "MB"), (1e3 * part.load_seconds, "ms")), start=1):
            figure.add_scatter(
                y=[plain(label) for label in part.label], x=values, mode="markers", name=plain(model),
                legendgroup=str(i), showlegend=column == 1, customdata=part.fraction,
                marker={"color": theme.colour(i), "symbol": ("circle", "diamond", "square")[i % 3], "size": 10},
                hovertemplate=f"%{{y}}: %{{x:.4g}} {unit}, %{{customdata:.3%}} of the PLM<extra>{plain(model)}</extra>",
                row=1, col=column,
            )  # fmt: skip
    for column, values in enumerate((table.bytes / 1e6, 1e3 * table.load_seconds), start=1):
        ticks = log_ticks(float(values.min()), float(values.max()))
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks], row=1, col=column)
    figure.update_xaxes(title_text="size on disk [MB]", row=1, col=1)
    figure.update_xaxes(title_text="time to load [ms]", row=1, col=2)
    figure.update_yaxes(categoryorder="array", categoryarray=[plain(label) for label in reversed(labels)])
    figure.update_layout(height=max(260, 38 * len(labels)))
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per model and method: size, share of the PLM, time to load."""
    columns = {"size [MB]": table.bytes / 1e6, "of the PLM [fraction]": table.fraction,
               "load [ms]": 1e3 * table.load_seconds}  # fmt: skip
    return pd.DataFrame({"model": table.model, "label": table.label, **columns})


def _describe(table: pd.DataFrame) -> str:
    sentences = []
    for model, part in table.groupby("model", sort=False):
        deltas = part[~part.label.isin([PLM, "full fine-tuning"])]
        if deltas.empty:
            sentences.append(f"{model}: {part.bytes.iloc[0] / 1e6:.3g} MB for {part.label.iloc[0]}, nothing beside it.")
            continue
        ordered = deltas.sort_values("bytes")
        least, most = ordered.iloc[0], ordered.iloc[-1]
        sentences.append(
            f"{model}: a delta takes from {least.bytes / 1e6:.3g} MB ({least.label}, {least.fraction:.2%} of the PLM) "
            f"to {most.bytes / 1e6:.3g} MB ({most.label}, {most.fraction:.2%})."
        )
    return " ".join(sentences)


def _example() -> pd.DataFrame:
    """Made-up sizes."""
    sizes = ((PLM, 1.0), ("full fine-tuning", 1.0), ("LoRA", 0.003), ("prompt", 0.001))
    rows = [
        (model, label, whole * share, share, 1e-4 + 1e-9 * whole * share)
        for model, whole in (("small", 9e7), ("large", 5e8))
        for label, share in sizes
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


DELTA_STORAGE = Figure(
    name="delta_storage",
    title="Deltas on disk",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Size on disk (safetensors, float32) and time to load of each method's delta, its classification head "
        "included, beside the PLM itself; both axes are logarithmic."
    ),
    reading=(
        "The distance to the PLM's mark is how many users' deltas fit into the storage of one copy of it: two decades "
        "are a hundred. Files are read from the page cache; for the smallest ones opening the file takes longer than "
        "reading it, so load times stop falling where sizes still do."
    ),
    source=(DING_2022,),
    example=_example,
)
