"""λ(x): the softmax mass that a prefix or a prompt takes, by layer, head and token, before and after training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.definition import TEXT, Column, Figure
from lab.figures.sources import HE_2022
from lab.figures.style import Theme, plain

_COLUMNS = {
    "stage": Column("start or trained", TEXT),
    "block": Column("depth, from 0", "count"),
    "head": Column("attention head, from 0", "count"),
    "position": Column("token of the text, from 0 (the first is what an encoder's head reads)", "count"),
    "mass": Column("λ: softmax mass on the trained tokens, mean over texts", "fraction"),
    "even": Column("what λ would be if every key got the same mass", "fraction"),
}
_LABEL = {"label": Column("prefix or prompt", TEXT)}
_SHOWN = {"head": "head", "position": "token"}


def _grid(part: pd.DataFrame, over: str) -> pd.DataFrame:
    return part.pivot_table(index="block", columns=over, values="mass", aggfunc="mean")


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Stages named with their method where it is known: "prefix, trained"."""
    if "label" not in table:
        return table
    return table.assign(stage=table.label + ", " + table.stage).sort_values("label", kind="stable")


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    table = _named(table)
    stages = list(dict.fromkeys(table.stage))
    axes = {"head": "head [count]", "position": "token [count]"}
    figure = make_subplots(
        2, len(stages), shared_yaxes=True, horizontal_spacing=0.03, vertical_spacing=0.2,
        subplot_titles=[f"{plain(stage)}, by {_SHOWN[over]}" for over in axes for stage in stages],
    )  # fmt: skip
    figure.update_annotations(font=None)
    top = 0.0
    for row, (over, title) in enumerate(axes.items(), start=1):
        for column, stage in enumerate(stages, start=1):
            grid = _grid(table[table.stage == stage], over)
            top = max(top, float(grid.to_numpy().max()))
            figure.add_heatmap(
                x=grid.columns, y=grid.index, z=grid.to_numpy(), coloraxis="coloraxis", xgap=1, ygap=1,
                hovertemplate=f"block %{{y}}, {_SHOWN[over]} %{{x}}: λ = %{{z:.3f}}"
                f"<extra>{plain(stage)}</extra>", row=row, col=column,
            )  # fmt: skip
            figure.update_xaxes(title_text=title, showgrid=False, row=row, col=column)
        figure.update_yaxes(title_text="block [count]", row=row, col=1)
    figure.update_yaxes(autorange="reversed", dtick=1, showgrid=False)
    methods = table.label if "label" in table else pd.Series("", index=table.index)
    evens = table.groupby(methods, sort=False).even.mean()
    ticks = [value for value in np.linspace(0, top, 5).round(2) if (evens - value).abs().min() > 0.06 * top]
    names = [*(f"{t:.2f}" for t in ticks), *(f"even, {plain(name)}" if name else "even" for name in evens.index)]
    bar = {"title": {"text": "λ [fraction]"}, "tickvals": [*ticks, *evens], "ticktext": names, "outlinewidth": 0}
    figure.update_layout(height=460, coloraxis={"colorscale": "Viridis", "cmin": 0, "cmax": top, "colorbar": bar})
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per stage and block: mean λ, and the heads that give most and least."""
    rows = []
    for (stage, block), part in _named(table).groupby(["stage", "block"], sort=False):
        heads = part.groupby("head").mass.mean()
        rows.append(
            {"stage": stage, "block": block, "mean λ": part.mass.mean(), "even share": part.even.mean(),
             "λ at the first token": part.mass[part.position == part.position.min()].mean(),
             "least by head": heads.min(), "most by head": heads.max(), "most at head": heads.idxmax()}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    sentences = []
    for stage, part in _named(table).groupby("stage", sort=False):
        heads = part.groupby(["block", "head"]).mass.mean()
        place = heads.index[int(heads.to_numpy().argmax())]
        sentences.append(
            f"{stage}: mean λ {part.mass.mean():.3f} (even share {part.even.mean():.3f}), by head {heads.min():.3f} "
            f"to {heads.max():.3f} (block {place[0]}, head {place[1]})."
        )
    return " ".join(sentences)


def _example() -> pd.DataFrame:
    """Made-up masses: even at the start, a few heads taken over after training."""
    rows = []
    for label, even in (("prefix", 0.2), ("prompt", 0.4)):
        for stage in ("start", "trained"):
            for block in range(4):
                for head in range(6):
                    for position in range(8):
                        mass = even if stage == "start" else 0.1 + 0.6 * ((block * 5 + head * 3) % 7) / 7
                        rows.append((label, stage, block, head, position, mass * (1 - 0.03 * position), even))
    return pd.DataFrame(rows, columns=["label", *_COLUMNS])


PREFIX_MASS = Figure(
    name="prefix_mass",
    title="Where a prefix or prompt acts",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=15,
    summary=_summary,
    describe=_describe,
    caption=(
        "λ(x), the softmax mass that attention gives to the tokens of a prefix or prompt, by block and head (top, mean "
        "over tokens) and by block and token of the text (bottom, mean over heads), at the start of training and after "
        "it; mean over texts."
    ),
    reading=(
        "A head's output is (1 − λ)·(what the text alone gives) + λ·(a mixture of the trained tokens' values): λ is "
        "the gate of this control. Dark cells are heads or tokens that they hardly touch; bright ones are heads they "
        "have taken over. The colour bar marks the even share, what λ would be if all keys were alike: the null. A "
        "prompt's tokens carry states of their own from block to block, a prefix's are trained in each."
    ),
    source=(HE_2022,),
    example=_example,
    optional=_LABEL,
)
