"""How much of their leading singular subspaces two updates share, on a grid of dimensions, beside the random level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import HU_2021
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("subspace_similarity", "comparison", "side", "i", "j", "similarity", "random")
_OPTIONAL = columns("subspace_similarity", "model", "role")


def _grid(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over matrices, i downwards and j to the right, as names."""
    cells = table.pivot_table(index="i", columns="j", values=column, aggfunc="mean")
    return cells.set_axis([f"{i:g}" for i in cells.index]).set_axis([f"{j:g}" for j in cells.columns], axis=1)


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """A row per comparison, a panel per side: φ above the level of random subspaces."""
    sides = table.side.nunique()
    grid = Grid(theme, wrap=sides, height=340)
    hover = "i = %{y}, j = %{x}<br>φ = %{customdata[0]:.3f}, random %{customdata[1]:.3f}"
    for comparison, part in split(table, "comparison"):
        for panel, (side, own) in zip(grid.row(comparison, sides), split(part, "side"), strict=False):
            panel.title = f"{comparison} · {side}"
            found, level = _grid(own, "similarity"), _grid(own, "random")
            panel.heat(found - level, "φ − random [1]", hover=hover, data=[found, level])
    text: dict[str, Any] = {"options": {"type": "category"}}
    return grid.x("j [count]", **text).y("i [count]", **text)


def _answer(table: pd.DataFrame) -> Answer:
    """Per comparison and side: φ(1, 1) and φ at the largest i = j, each beside its random level."""
    rows = []
    for (comparison, side), part in table.groupby(["comparison", "side"], sort=False):
        equal = part[part["i"] == part["j"]]
        for k in sorted({equal["i"].min(), equal["i"].max()}) if len(equal) else [np.nan]:
            at = equal[equal["i"] == k] if len(equal) else part.head(1)
            rows.append((comparison, side, k, at.similarity.mean(), at.random.mean(), len(at)))
    found = pd.DataFrame(rows, columns=["comparison", "side", "i = j [count]", "φ", "random", "matrices [count]"])
    told = [
        f"{row['comparison']} ({row['side']}): {row['φ']:.2f}, at random {row['random']:.3f}"
        for row in found.drop_duplicates(["comparison", "side"]).sort_values("φ", ascending=False).to_dict("records")
    ]
    return Answer(listed("Similarity φ of the first directions", told), found)


def _example() -> pd.DataFrame:
    """Made-up overlaps that fall from the first directions on."""
    cells = [
        {"comparison": comparison, "side": side, "role": "query", "i": i, "j": j}
        | {"similarity": top * np.exp(-0.2 * (min(i, j) - 1)) / (1 + 0.1 * abs(i - j))}
        | {"random": max(i, j) / 384}
        for comparison, top in (("seed against seed", 0.6), ("ΔW against W₀", 0.1))
        for side in ("inputs", "outputs")
        for i in range(1, 5)
        for j in range(1, 5)
    ]
    return pd.DataFrame(cells)


SUBSPACE_SIMILARITY = Figure(
    name="subspace_similarity",
    title="Subspaces that updates share",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=2,
    label="comparison",
    caption=(
        "Subspace similarity φ(i, j) between the first i singular vectors of one update and the first j of another, "
        "mean over the compared matrices, for inputs (right vectors) and outputs (left vectors), minus its mean for "
        "random subspaces of the same dimensions, max(i, j)/d."
    ),
    reading=(
        "φ is 1 where the smaller subspace lies inside the larger one and 0 where they are orthogonal; the cursor says "
        "it and its random level, which grows with max(i, j)/d, so that a long subspace overlaps with anything. What "
        "is drawn is what lies above that level: 0 is chance. A bright first row or corner over a dark rest: the two "
        "share a few strong directions and differ in the others, which noise of training may fill. A mean over "
        "matrices can hide single ones; the filters show them."
    ),
    source=(HU_2021,),
    example=_example,
)
