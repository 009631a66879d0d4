"""As an update is made stronger: its score, and the share of matrices with an intruder, beside the forecast."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.intruders import named
from lab.figures.sources import BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024
from lab.figures.style import Theme, fade, plain

_COLUMNS = {
    "label": Column("which run", TEXT),
    "strength": Column("t in θ₀ + t·Δθ; 1 as trained", "1"),
    "score": Column("validation score", "fraction"),
    "with_intruder": Column("share of matrices with an intruder", "fraction"),
    "forecast": Column("share forecast by the spiked model", "fraction"),
    "low": Column("share whose forecast is passed even for late directions", "fraction"),
    "high": Column("share whose forecast is passed for early ones", "fraction"),
}
_OPTIONAL = {"model": Column("the PLM", TEXT)}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    table = named(table)
    figure = make_subplots(
        1, 2, horizontal_spacing=0.1, subplot_titles=["what the model still does", "matrices with an intruder"]
    )
    figure.update_annotations(font=None)
    positive = table["strength"][table["strength"] > 0]
    zero = float(positive.min()) / 2 if len(positive) else 0.5  # t = 0 has no place on a logarithmic axis
    for i, (row, part) in enumerate(table.groupby("row", sort=False)):
        part = part.sort_values("strength")
        x, colour = part["strength"].where(part["strength"] > 0, zero), theme.colour(i)
        line = {"color": colour, "width": 1.8}
        marker = {"symbol": theme.symbol(i), "size": 7}
        name = {"name": plain(row), "legendgroup": plain(row)}
        figure.add_scatter(x=x, y=part["score"], mode="lines+markers", line=line, marker=marker, row=1, col=1, **name)
        figure.add_scatter(
            x=[*x, *x[::-1]], y=[*part["high"], *part["low"][::-1]], mode="lines", line={"width": 0}, fill="toself",
            fillcolor=fade(colour, 0.18), hoverinfo="skip", showlegend=False, legendgroup=plain(row), row=1, col=2,
        )  # fmt: skip
        figure.add_scatter(
            x=x, y=part["forecast"], mode="lines", line={"color": colour, "dash": "dash", "width": 1.2}, row=1, col=2,
            name=plain(f"{row}, forecast"), legendgroup=plain(row),
        )  # fmt: skip
        figure.add_scatter(
            x=x, y=part["with_intruder"], mode="lines+markers", line=line, marker=marker, showlegend=False,
            row=1, col=2, **name,
        )  # fmt: skip
    ticks = sorted({zero, *positive})
    names = ["0" if t == zero else f"{t:g}" for t in ticks]
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=names, title_text="strength t of the update [1]")
    figure.update_yaxes(title_text="validation score [fraction]", row=1, col=1)
    figure.update_yaxes(title_text="share of matrices [fraction]", range=[-0.03, 1.03], row=1, col=2)
    figure.update_layout(height=360)
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "row": "run", "strength": "t [1]", "score": "score [fraction]", "with_intruder": "with intruder [fraction]",
        "forecast": "forecast [fraction]",
    }  # fmt: skip
    return named(table)[list(columns)].rename(columns=columns)


def _describe(table: pd.DataFrame) -> str:
    parts = []
    for row, part in named(table).groupby("row", sort=False):
        part = part.sort_values("strength")
        best = part.sort_values(["score", "strength"], ascending=[False, True]).iloc[0]
        intruded = part[part["with_intruder"] > 0]
        first = f"the first intruders at t = {intruded['strength'].iloc[0]:g}" if len(intruded) else "no intruder"
        parts.append(f"{row}: best score {best['score']:.3f} at t = {best['strength']:g}, {first}")
    return "Score and intruders as the update grows. " + "; ".join(parts) + "."


def _example() -> pd.DataFrame:
    """Made-up curves."""
    rows = []
    for label, onset in (("LoRA r = 8", 4.0), ("full fine-tuning", 32.0)):
        for t in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0):
            share = float(np.clip(np.log2(max(t, 0.1) / onset) / 3 + 0.3, 0, 1))
            rows.append(
                {"label": label, "strength": t, "score": 0.3 + 0.6 * float(np.exp(-abs(np.log(max(t, 0.1))) / 3)),
                 "with_intruder": share, "forecast": min(1.0, share * 1.1), "low": share * 0.8,
                 "high": min(1.0, share * 1.3)}
            )  # fmt: skip
    return pd.DataFrame(rows)


INTRUDER_STRENGTH = Figure(
    name="intruder_strength",
    title="As an update grows stronger",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Left: validation score of θ₀ + t·Δθ over the strength t of the update (for a LoRA, α). Right: share of the "
        "studied matrices with an intruder dimension, seen (points) and forecast (dashed; band: early and late "
        "directions)."
    ),
    reading=(
        "t = 1 is the model as trained, t = 0 the pre-trained weights with the trained head. Where the score holds "
        "while intruders have appeared, they do no harm on this task; where it falls before any appears, something "
        "else breaks first. The forecast knows only W₀'s spectrum and ‖ΔW‖₂ of each matrix."
    ),
    source=(SHUTTLEWORTH_2024, BENAYCH_GEORGES_2012),
    example=_example,
)
