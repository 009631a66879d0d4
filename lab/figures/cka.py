"""Alignment (CKA) of the layers of a pre-trained model with those of the tuned one."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import KORNBLITH_2019
from lab.figures.style import Theme, plain

_COLUMNS = {
    "label": Column("whose layers are compared with the pre-trained ones", TEXT),
    "base_layer": Column("layer of the pre-trained model; 0 is what enters the first block", "count"),
    "layer": Column("layer of the other model", "count"),
    "cka": Column("linear CKA, unbiased", "1"),
    "shuffled": Column("largest CKA after shuffling the sentences of one of the two", "1"),
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    labels = list(dict.fromkeys(table.label))
    columns = min(3, len(labels))
    rows = -(-len(labels) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=[_title(label, table[table.label == label]) for label in labels],
        horizontal_spacing=0.12, vertical_spacing=0.3 / rows,
    )  # fmt: skip
    figure.update_annotations(font=None)
    scale = [[i / 8, colour] for i, colour in enumerate(theme.depths(9))]
    for i, label in enumerate(labels):
        part = table[table.label == label]
        wide = part.pivot_table(index="base_layer", columns="layer", values="cka")
        place = {"row": i // columns + 1, "col": i % columns + 1}
        figure.add_heatmap(
            x=wide.columns, y=wide.index, z=wide.to_numpy(float), zmin=0, zmax=1, colorscale=scale, showscale=i == 0,
            colorbar={"title": {"text": "CKA [1]", "side": "top"}, "thickness": 12, "outlinewidth": 0},
            hovertemplate="pre-trained layer %{y}, other layer %{x}: %{z:.3f}", xgap=1, ygap=1, **place,
        )  # fmt: skip
        every = max(1, len(wide.columns) // 8)
        figure.update_xaxes(title_text=f"layer, {plain(label)} [count]", dtick=every, **place)
        figure.update_yaxes(title_text="layer, pre-trained [count]", dtick=every, **place)
    return figure.update_layout(height=380 * rows)


def _title(label: str, part: pd.DataFrame) -> str:
    return f"{plain(label)}<br>shuffled: at most {part.shuffled.max():.2f}"


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per comparison: CKA of the first and last layer with itself, the least of them, and the null's largest value."""
    rows = []
    for label, part in table.groupby("label", sort=False):
        own = part[part.base_layer == part.layer].sort_values("layer")
        own = own if len(own) else part
        rows.append(
            {"layers of": label, "first layer": own.cka.iloc[0], "last layer": own.cka.iloc[-1],
             "least": own.cka.min(), "shuffled, largest": part.shuffled.max()}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    return " ".join(
        f"Pre-trained layers against {row['layers of']}: CKA of the same layer {row['first layer']:.2f} at the first, "
        f"{row['last layer']:.2f} at the last; shuffled at most {row['shuffled, largest']:.2f}."
        for _, row in _summary(table).iterrows()
    )


def _example() -> pd.DataFrame:
    """A made-up tuned model whose last layers have moved, and one with random weights."""
    rows = [
        (label, i, j, max(0.0, height - 0.12 * abs(i - j) - fall * j), 0.03)
        for label, height, fall in (("after LoRA r = 8", 1.0, 0.08), ("random weights", 0.5, 0.05))
        for i in range(5)
        for j in range(5)
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


CKA = Figure(
    name="cka",
    title="Alignment of layers before and after tuning",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Linear centred kernel alignment (unbiased) between every layer of the pre-trained model and every layer of "
        "the tuned one, on the same sentences, and of a model with random weights; above each panel the largest value "
        "that shuffling the sentences gives."
    ),
    reading=(
        "1 means that two layers arrange the sentences alike, up to rotation and scale; 0 that they have nothing in "
        "common. A diagonal that fades towards the top right says that tuning has changed the last layers and left the "
        "first ones. Blocks of equal colour are layers that do much the same. Alignment with random weights is what "
        "the words of the sentences alone give; the shuffled value is what chance gives."
    ),
    source=(KORNBLITH_2019,),
    example=_example,
)
