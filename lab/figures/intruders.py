"""Intruder dimensions: the overlap of each leading direction of W₀ + t·ΔW with W₀'s own, and counts over k and ε."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure, with_model
from lab.figures.sources import BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024
from lab.figures.style import Theme, block_bar, fade, log_ticks, plain

EPSILON = 0.5
"""The paper's line."""

_COLUMNS = {
    "label": Column("which run", TEXT),
    "kind": Column("tuned, or random: the null, ΔW with the same singular values and random directions", TEXT),
    "matrix": Column("unique label of the weight matrix", TEXT),
    "block": Column("depth, from 0", "count"),
    "strength": Column("t in W₀ + t·ΔW; 1 as trained", "1"),
    "index": Column("j: number of the singular value of W₀ + t·ΔW, from 1", "count"),
    "overlap": Column("max_i |⟨u_j, u_i of W₀⟩|, from 0 to 1", "1"),
}
_OPTIONAL = {"model": Column("the PLM", TEXT)}


def named(table: pd.DataFrame) -> pd.DataFrame:
    """A column `row`: the run, with the PLM where there are several."""
    return table.assign(row=with_model(table, "label"))


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    table = named(table)
    rows, strengths = list(dict.fromkeys(table["row"])), sorted(table["strength"].unique())
    figure = make_subplots(
        len(rows), len(strengths), shared_xaxes="all", shared_yaxes="all", horizontal_spacing=0.03,
        vertical_spacing=0.26 / max(len(rows), 2),
        subplot_titles=[plain(f"{row} · t = {t:g}") for row in rows for t in strengths],
    )  # fmt: skip
    figure.update_annotations(font=None)
    blocks = sorted(table["block"].dropna().unique())
    colours = dict(zip(blocks, theme.depths(len(blocks)), strict=True))
    band = {"mode": "lines", "line": {"width": 0}, "fill": "toself", "fillcolor": fade(theme.muted, 0.3)}
    top = float(table["index"].max())
    for r, row in enumerate(rows, start=1):
        for c, strength in enumerate(strengths, start=1):
            part = table[(table["row"] == row) & (table["strength"] == strength)]
            null = part[part["kind"] == "random"].groupby("index")["overlap"].agg(["min", "max"])
            if len(null):
                figure.add_scatter(
                    x=[*null.index, *null.index[::-1]], y=[*null["max"], *null["min"][::-1]], showlegend=False,
                    hoverinfo="skip", row=r, col=c, **band,
                )  # fmt: skip
            for (matrix, block), own in part[part["kind"] != "random"].groupby(["matrix", "block"], sort=False):
                figure.add_scatter(
                    x=own["index"], y=own["overlap"], mode="lines", showlegend=False, name=plain(matrix),
                    line={"color": colours.get(block, theme.ink), "width": 1.3},
                    hovertemplate=f"u<sub>%{{x}}</sub>: %{{y:.3f}}<extra>{plain(matrix)}</extra>", row=r, col=c,
                )  # fmt: skip
            figure.add_scatter(
                x=[1, top], y=[EPSILON, EPSILON], mode="lines", hoverinfo="skip", row=r, col=c, name="ε = ½",
                line={"color": theme.ink, "width": 1, "dash": "dash"}, showlegend=r == c == 1,
            )  # fmt: skip
    if (table["kind"] == "random").any():
        figure.add_scatter(x=[None], y=[None], name="random directions, same singular values", row=1, col=1, **band)
    figure.update_xaxes(type="log", tickvals=log_ticks(1, max(top, 2)), range=[-0.03, np.log10(max(top, 2)) + 0.03])
    figure.update_yaxes(range=[0, 1.03])
    for c in range(1, len(strengths) + 1):
        figure.update_xaxes(title_text="j [count]", row=len(rows), col=c)
    for r in range(1, len(rows) + 1):
        figure.update_yaxes(title_text="largest overlap [1]", row=r, col=1)
    block_bar(figure, blocks, theme)
    figure.update_layout(height=max(330, 210 * len(rows)))
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Intruders among the first ten directions, per run, strength and kind."""
    rows = []
    for (row, strength, kind), part in named(table).groupby(["row", "strength", "kind"], sort=False):
        first = part[part["index"] <= 10]
        counts = (first["overlap"] < EPSILON).groupby(first["matrix"]).sum()
        rows.append(
            {"run": row, "directions": kind, "t [1]": strength, "intruders [count]": int(counts.sum()),
             "matrices with one [count]": int((counts > 0).sum()), "matrices [count]": len(counts),
             "least overlap [1]": float(first["overlap"].min())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    parts = []
    for row, part in _summary(table).groupby("run", sort=False):
        told = []
        for strength, at in part.groupby("t [1]"):
            counts = {str(kind): count for kind, count in zip(at["directions"], at["intruders [count]"], strict=True)}
            null = counts.pop("random", None)
            found = ", ".join(str(count) for count in counts.values()) or "none looked for"
            told.append(f"{found} at t = {strength:g}" + (f" (random directions {null})" if null is not None else ""))
        parts.append(f"{row}: {', '.join(told)}")
    return "Intruders among the ten leading directions of all matrices. " + "; ".join(parts) + "."


def _example() -> pd.DataFrame:
    """Made-up overlaps: nothing at t = 1, one intruder at t = 8."""
    rows = [
        {"label": label, "kind": kind, "matrix": f"block.{block}.query", "block": block, "strength": strength,
         "index": j, "overlap": max(0.1, 1 - 0.005 * j * strength * (1 + (kind == "random") + 0.2 * block))}
        for label in ("LoRA r = 8", "full fine-tuning")
        for kind in ("tuned", "random")
        for block in range(3)
        for strength in (1.0, 8.0)
        for j in range(1, 13)
    ]  # fmt: skip
    return pd.DataFrame(rows)


INTRUDERS = Figure(
    name="intruders",
    title="Intruder dimensions",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Largest overlap of the j-th left singular vector of W₀ + t·ΔW with any left singular vector of W₀, one line "
        "per matrix (colour: depth) and one panel per run and strength t; grey: the range over matrices for updates "
        "with the same singular values and random directions; dashed: ε = ½, below which Shuttleworth et al. call a "
        "direction an intruder."
    ),
    reading=(
        "t = 1 is the model as trained; a larger t is what a larger α does, or longer training along the same "
        "direction. A line that drops below the dashed one at a small j has a strong direction that W₀ does not know. "
        "The grey band says what size alone would do: lines above it mean that the update respects W₀'s directions "
        "more than chance, lines below it that it avoids them. Dips at larger j often are neighbouring directions of "
        "W₀ that mix, whose singular values nearly agree: look at the sweep over ε before calling them new."
    ),
    source=(SHUTTLEWORTH_2024, BENAYCH_GEORGES_2012),
    example=_example,
)
