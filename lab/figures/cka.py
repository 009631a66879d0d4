"""Alignment (CKA) of the layers of a pre-trained model with those of the tuned one."""

from __future__ import annotations

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import KORNBLITH_2019
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("cka", "label", "base_layer", "layer", "cka", "shuffled")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=3, height=380)
    for label, part in split(table, "label"):
        panel = grid.panel(f"{label}\nshuffled: at most {part.shuffled.max():.2f}")
        wide = part.pivot_table(index="base_layer", columns="layer", values="cka")
        hover = "pre-trained layer %{y}, other layer %{x}: %{z:.3f}"
        panel.heat(wide, "CKA [1]", low=0, high=1, hover=hover)
    return grid.x("layer, other model [count]", whole=True).y("layer, pre-trained [count]", whole=True)


def _answer(table: pd.DataFrame) -> Answer:
    """Per comparison: CKA of the first and last layer with itself, the least of them, and the null's largest value."""
    rows = []
    for label, part in split(table, "label"):
        own = part[part.base_layer == part.layer].sort_values("layer")
        own = own if len(own) else part
        rows.append((label, own.cka.iloc[0], own.cka.iloc[-1], own.cka.min(), part.shuffled.max()))
    names = ["layers of", "first layer", "last layer", "least", "shuffled, largest"]
    told = [f"{label}: {first:.2f} at the first, {last:.2f} at the last" for label, first, last, _, _ in rows]
    end = f". Shuffling the sentences gives at most {max(row[-1] for row in rows):.2f}."
    return Answer(listed("CKA of a layer with its pre-trained self", told, end=end), pd.DataFrame(rows, columns=names))


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
    conclude=_answer,
    group="loss",
    order=9,
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
