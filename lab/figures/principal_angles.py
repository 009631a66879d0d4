"""Principal angles between leading singular subspaces, each matrix a line, beside the band of random subspaces."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure, with_model
from lab.figures.sources import HU_2021
from lab.figures.style import Theme, block_bar, fade, plain

_COLUMNS = {
    "comparison": Column("what is compared with what", TEXT),
    "side": Column("inputs (right singular vectors) or outputs (left ones)", TEXT),
    "role": Column("role of the matrix", TEXT),
    "block": Column("depth, from 0", "count"),
    "index": Column("number of the angle, from 1, in increasing order", "count"),
    "angle": Column("principal angle, 0 to 90", "degrees"),
    "null_low": Column("lower end of the angle for random subspaces", "degrees"),
    "null_high": Column("upper end of it", "degrees"),
}
_OPTIONAL = {"model": Column("the PLM", TEXT)}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    table = table.assign(row=with_model(table, "comparison"))
    rows, sides = list(dict.fromkeys(table["row"])), list(dict.fromkeys(table["side"]))
    figure = make_subplots(
        len(rows), len(sides), shared_xaxes=True, shared_yaxes=True, horizontal_spacing=0.04,
        vertical_spacing=0.3 / max(len(rows), 2), subplot_titles=[plain(f"{r} · {s}") for r in rows for s in sides],
    )  # fmt: skip
    figure.update_annotations(font=None)
    blocks = sorted(table["block"].dropna().unique())
    colours = dict(zip(blocks, theme.depths(len(blocks)), strict=True))
    band = {"line": {"width": 0}, "fillcolor": fade(theme.muted, 0.3), "fill": "toself", "mode": "lines"}
    for r, row in enumerate(rows, start=1):
        for c, side in enumerate(sides, start=1):
            part = table[(table["row"] == row) & (table["side"] == side)]
            nulls = part.groupby("index")[["null_low", "null_high"]].agg({"null_low": "min", "null_high": "max"})
            figure.add_scatter(
                x=[*nulls.index, *nulls.index[::-1]], y=[*nulls["null_high"], *nulls["null_low"][::-1]],
                showlegend=False, hoverinfo="skip", row=r, col=c, **band,
            )  # fmt: skip
            for (role, block), matrix in part.groupby(["role", "block"], sort=False):
                name = plain(f"block {block:g} {role}")
                figure.add_scatter(
                    x=matrix["index"], y=matrix["angle"], mode="lines+markers", showlegend=False, name=name,
                    marker={"size": 4}, line={"width": 1.2, "color": colours.get(block, theme.ink)},
                    hovertemplate=f"angle %{{x}}: %{{y:.1f}}°<extra>{name}</extra>", row=r, col=c,
                )  # fmt: skip
    figure.add_scatter(x=[None], y=[None], name="random subspaces (95 % of them)", row=1, col=1, **band)
    for c in range(1, len(sides) + 1):
        figure.update_xaxes(title_text="angle [number]", dtick=1, row=len(rows), col=c)
    figure.update_yaxes(range=[-3, 93], tickvals=[0, 30, 60, 90])
    for r in range(1, len(rows) + 1):
        figure.update_yaxes(title_text="θ [degrees]", row=r, col=1)
    block_bar(figure, blocks, theme)
    figure.update_layout(height=max(330, 180 * len(rows)))
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per comparison and side: the median first angle, its null, and how many angles lie below the null."""
    rows = []
    for (row, side), part in table.assign(row=with_model(table, "comparison")).groupby(["row", "side"], sort=False):
        first = part[part["index"] == part["index"].min()]
        below = (part["angle"] < part["null_low"]).groupby([part["role"], part["block"]]).sum()
        rows.append(
            {"comparison": row, "side": side, "smallest angle [degrees]": float(first["angle"].median()),
             "random, lower end [degrees]": float(first["null_low"].median()),
             "angles below random [count]": float(below.median()), "of [count]": int(part["index"].max()),
             "matrices [count]": len(below)}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    parts = [
        f"{row['comparison']} ({row['side']}): smallest angle {row['smallest angle [degrees]']:.0f}° against "
        f"{row['random, lower end [degrees]']:.0f}° at random, {row['angles below random [count]']:g} of "
        f"{row['of [count]']} angles below chance"
        for row in _summary(table).to_dict("records")
    ]
    return "Principal angles, medians over matrices. " + "; ".join(parts) + "."


def _example() -> pd.DataFrame:
    """Made-up angles: the first two shared, the rest as at random."""
    return pd.DataFrame(
        [
            {"comparison": comparison, "side": side, "role": "query", "block": block, "index": k,
             "angle": min(89.0, start + 15 * (k - 1) + block), "null_low": 70.0 + 4 * k, "null_high": 75.0 + 3.5 * k}
            for comparison, start in (("seed against seed", 25.0), ("ΔW against W₀", 72.0))
            for side in ("inputs", "outputs")
            for block in range(3)
            for k in range(1, 5)
        ]
    )  # fmt: skip


PRINCIPAL_ANGLES = Figure(
    name="principal_angles",
    title="Principal angles between updates",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Principal angles between the leading singular subspaces of two updates, one line per matrix (colour: depth), "
        "in increasing order, for inputs and outputs; grey: the range that 95 % of random subspaces of the same "
        "dimensions give, over all compared matrices."
    ),
    reading=(
        "0° is a direction that both have, 90° one that the other lacks entirely. In a space of hundreds of dimensions "
        "random subspaces are nearly orthogonal, so angles in the grey band mean nothing is shared. A line that starts "
        "far below the band and joins it after k angles shares k directions. The mean of cos²θ is the similarity φ(k, "
        "k) of the grids; the angles say whether it comes from one shared direction or from many half-shared ones."
    ),
    source=(HU_2021,),
    example=_example,
)
