"""Intrinsic dimension of the hidden states, layer by layer, beside that of the objective."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import AGHAJANYAN_2020, ANSUINI_2019
from lab.figures.style import Theme, count, fade, log_ticks, plain

_COLUMNS = {
    "label": Column("under which weights: pre-trained, after a method, random weights", TEXT),
    "layer": Column("0 is what enters the first block, then what leaves each", "count"),
    "estimator": Column("of the dimension", TEXT),
    "dimension": Column("estimated dimension of the sentences' representations", "count"),
    "low": Column("lower end of its interval", "count"),
    "high": Column("upper end of its interval", "count"),
}
_OPTIONAL = {"objective": Column("d90 of the objective in all weights, where measured", "count")}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    estimators, labels = list(dict.fromkeys(table.estimator)), list(dict.fromkeys(table.label))
    columns = min(4, len(estimators))
    rows = -(-len(estimators) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=[plain(name) for name in estimators], shared_yaxes="all",
        horizontal_spacing=0.025, vertical_spacing=0.3 / rows,
    )  # fmt: skip
    figure.update_annotations(font=None)
    for i, estimator in enumerate(estimators):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        for j, label in enumerate(labels):
            part = table[(table.estimator == estimator) & (table.label == label)].sort_values("layer")
            null = label == "random weights"
            colour = theme.muted if null else theme.colour(j)
            figure.add_scatter(
                x=part.layer, y=part.dimension, mode="lines+markers", name=plain(label), legendgroup=plain(label),
                showlegend=i == 0, line={"color": colour, "width": 2, "dash": "dot" if null else "solid"},
                marker={"size": 5}, hovertemplate="layer %{x}: %{y:.1f}",
                error_y={
                    "type": "data", "symmetric": False, "array": part.high - part.dimension, "width": 0,
                    "arrayminus": part.dimension - part.low.clip(lower=0.5), "thickness": 1, "color": fade(colour, 0.6),
                }, **place,
            )  # fmt: skip
        figure.update_xaxes(title_text="layer [count]", **place)
    for row in range(1, rows + 1):
        figure.update_yaxes(title_text="dimension [count]", row=row, col=1)
    low, high = max(1.0, float(table.dimension.min())), max(2.0, float(table.dimension.max()))
    ticks = log_ticks(0.7 * low, 1.5 * high)
    limits = [np.log10(0.7 * low), np.log10(1.5 * high)]
    figure.update_yaxes(type="log", range=limits, tickvals=ticks, ticktext=[count(tick) for tick in ticks])
    return figure.update_layout(height=340 if rows == 1 else 260 * rows)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per weights and estimator: the dimension of the first, the highest and the last layer; d90 of the objective."""
    rows = []
    for (label, estimator), part in table.groupby(["label", "estimator"], sort=False):
        part = part.sort_values("layer")
        objective = part.objective.iloc[0] if "objective" in part else float("nan")
        rows.append(
            {"weights": label, "estimator": estimator, "first layer": part.dimension.iloc[0],
             "highest": part.dimension.max(), "last layer": part.dimension.iloc[-1], "objective's d90": objective}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    told = " ".join(
        f"{row['weights']}, {row['estimator']}: {row['first layer']:.1f} at the first layer, "
        f"{row['last layer']:.1f} at the last."
        for _, row in found.iterrows()
    )
    d90 = found["objective's d90"].dropna()
    return f"{told} The objective's own d90 is {count(float(d90.iloc[0]))}." if len(d90) else told


def _example() -> pd.DataFrame:
    """Made-up dimensions that rise and fall with depth."""
    rows = [
        (label, layer, estimator, value, value - 1.2, value + 1.2, 981.0)
        for estimator, factor in (("TwoNN", 1.0), ("MLE", 0.9))
        for label, end in (("pre-trained", 14.0), ("after LoRA r = 8", 8.0), ("random weights", 17.0))
        for layer in range(5)
        for value in [factor * (16 + (end - 16) * (layer / 4) ** 2)]
    ]
    return pd.DataFrame(rows, columns=[*_COLUMNS, "objective"])


REPRESENTATION_DIMENSION = Figure(
    name="representation_dimension",
    title="Dimension of representations, layer by layer",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Intrinsic dimension of the sentences' hidden states (mean over tokens) at every layer, one panel per "
        "estimator: pre-trained, tuned, and with random weights (dotted grey); intervals are grouped jackknives. The "
        "table gives the objective's d90 beside them."
    ),
    reading=(
        "Each line follows one kind of weights from the embeddings (layer 0) to the last block. Estimators differ in "
        "the scale they look at: compare shapes between panels and values inside one. A lower last layer after tuning "
        "says that sentences have moved onto fewer directions, such as one per class. The objective's d90 counts "
        "directions of weight space, not of representations: the two need not be alike, and usually differ by orders "
        "of magnitude. Random weights keep much of the input's dimension: what tuning does is the difference to the "
        "pre-trained line, not the height of the line."
    ),
    source=(ANSUINI_2019, AGHAJANYAN_2020),
    example=_example,
)
