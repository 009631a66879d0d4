"""How much of their leading singular subspaces two updates share, on a grid of dimensions, beside the random level."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure, with_model
from lab.figures.sources import HU_2021
from lab.figures.style import Theme, counted, plain

_COLUMNS = {
    "comparison": Column("what is compared with what: A against B", TEXT),
    "side": Column("inputs (right singular vectors) or outputs (left ones)", TEXT),
    "i": Column("dimensions of A's subspace: its first i singular vectors", "count"),
    "j": Column("dimensions of B's subspace", "count"),
    "similarity": Column("φ(i, j) = ‖U_Aᵀ U_B‖_F² / min(i, j), from 0 to 1", "1"),
    "random": Column("its mean for random subspaces, max(i, j)/d", "1"),
}
_OPTIONAL = {"model": Column("the PLM", TEXT), "role": Column("role of the matrix", TEXT)}
RANDOM = "random subspaces"


def _grid(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over matrices, i downwards and j to the right."""
    return table.pivot_table(index="i", columns="j", values=column, aggfunc="mean")


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    table = table.assign(row=with_model(table, "comparison"))
    rows, sides = list(dict.fromkeys(table["row"])), list(dict.fromkeys(table["side"]))
    titles = [column if column == RANDOM else f"{row} · {column}" for row in rows for column in (*sides, RANDOM)]
    figure = make_subplots(
        len(rows), len(sides) + 1, horizontal_spacing=0.06, vertical_spacing=0.34 / max(len(rows), 2),
        subplot_titles=[plain(title) for title in titles],
    )  # fmt: skip
    figure.update_annotations(font=None)
    for r, row in enumerate(rows, start=1):
        part = table[table["row"] == row]
        for c, side in enumerate((*sides, RANDOM), start=1):
            cells = _grid(part, "random") if side == RANDOM else _grid(part[part["side"] == side], "similarity")
            level = _grid(part if side == RANDOM else part[part["side"] == side], "random")
            figure.add_heatmap(
                x=[str(int(j)) for j in cells.columns], y=[str(int(i)) for i in cells.index], z=cells.to_numpy(),
                customdata=level.to_numpy(), coloraxis="coloraxis", xgap=1, ygap=1,
                hovertemplate="i = %{y}, j = %{x}<br>φ = %{z:.3f}, random %{customdata:.3f}<extra></extra>",
                row=r, col=c,
            )  # fmt: skip
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    for c in range(1, len(sides) + 2):
        figure.update_xaxes(title_text="j [count]", row=len(rows), col=c)
    for r in range(1, len(rows) + 1):
        figure.update_yaxes(title_text="i [count]", row=r, col=1)
    bar = {"title": {"text": "φ"}, "tickvals": [0, 0.25, 0.5, 0.75, 1], "outlinewidth": 0, "thickness": 12}
    bar |= {"lenmode": "pixels", "len": 220, "y": 1, "yanchor": "top"}
    figure.update_layout(
        height=max(300, 190 * len(rows)), coloraxis={"cmin": 0, "cmax": 1, "colorscale": "Viridis", "colorbar": bar}
    )
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per comparison and side: φ(1, 1) and φ at the largest i = j, each beside its random level."""
    table = table.assign(row=with_model(table, "comparison"))
    rows = []
    for (row, side), part in table.groupby(["row", "side"], sort=False):
        equal = part[part["i"] == part["j"]]
        ks = sorted({equal["i"].min(), equal["i"].max()}) if len(equal) else []
        for k in ks:
            at = equal[equal["i"] == k]
            rows.append(
                {"comparison": row, "side": side, "i = j [count]": int(k), "φ": float(at["similarity"].mean()),
                 "random": float(at["random"].mean()), "matrices [count]": len(at)}
            )  # fmt: skip
        if not ks:
            first = part.iloc[0]
            rows.append(
                {"comparison": row, "side": side, "i = j [count]": np.nan, "φ": float(first["similarity"]),
                 "random": float(first["random"]), "matrices [count]": 1}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table).drop_duplicates(["comparison", "side"])
    parts = [
        f"{row['comparison']} ({row['side']}): φ of the first directions {row['φ']:.2f}, at random {row['random']:.3f}"
        for row in found.to_dict("records")
    ]
    return f"Heat maps of subspace similarity for {counted(len(found), 'grid')}. " + "; ".join(parts) + "."


def _example() -> pd.DataFrame:
    """Made-up overlaps that fall from the first directions on."""
    cells = [
        {"comparison": comparison, "side": side, "role": "query", "i": i, "j": j,
         "similarity": top * np.exp(-0.2 * (min(i, j) - 1)) / (1 + 0.1 * abs(i - j)), "random": max(i, j) / 384}
        for comparison, top in (("seed against seed", 0.6), ("ΔW against W₀", 0.1))
        for side in ("inputs", "outputs")
        for i in range(1, 5)
        for j in range(1, 5)
    ]  # fmt: skip
    return pd.DataFrame(cells)


SUBSPACE_SIMILARITY = Figure(
    name="subspace_similarity",
    title="Subspaces that updates share",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Subspace similarity φ(i, j) between the first i singular vectors of one update and the first j of another, "
        "mean over the compared matrices, for inputs (right vectors) and outputs (left vectors), beside the mean for "
        "random subspaces of the same dimensions on the same colour scale."
    ),
    reading=(
        "1 means that the smaller subspace lies inside the larger one, 0 that they are orthogonal. Compare each grid "
        "with its random one in the last column: the level grows with max(i, j)/d, so a long subspace overlaps with "
        "anything. A bright first row or corner over a dark rest: the two share a few strong directions and differ in "
        "the others, which noise of training may fill. A mean over matrices can hide single ones; the filters show "
        "them."
    ),
    source=(HU_2021,),
    example=_example,
)
