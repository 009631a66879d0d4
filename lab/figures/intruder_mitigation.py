"""Intruder dimensions scaled by λ: what the score does, and how many are left."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.intruders import named
from lab.figures.sources import SHUTTLEWORTH_2024
from lab.figures.style import Theme, plain

_COLUMNS = {
    "label": Column("which run", TEXT),
    "lambda": Column("λ: factor on the intruders' part; 1 keeps, 0 removes", "1"),
    "strength": Column("t at which they were found", "1"),
    "score": Column("validation score", "fraction"),
    "intruders": Column("intruders found in the mitigated weights", "count"),
    "mitigated": Column("intruders that were scaled", "count"),
}
_OPTIONAL = {"model": Column("the PLM", TEXT)}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    figure = make_subplots(1, 2, horizontal_spacing=0.1)
    for i, (row, part) in enumerate(named(table).groupby("row", sort=False)):
        part = part.sort_values("lambda")
        name = plain(f"{row}, t = {part['strength'].iloc[0]:g}")
        for c, column in enumerate(("score", "intruders"), start=1):
            figure.add_scatter(
                x=part["lambda"], y=part[column], mode="lines+markers", name=name, legendgroup=name, showlegend=c == 1,
                line={"color": theme.colour(i), "width": 1.8}, marker={"symbol": theme.symbol(i), "size": 7}, row=1,
                col=c,
            )  # fmt: skip
    figure.update_xaxes(title_text="λ [1]", dtick=0.25)
    figure.update_yaxes(title_text="validation score [fraction]", row=1, col=1)
    figure.update_yaxes(title_text="intruders left [count]", rangemode="tozero", row=1, col=2)
    figure.update_layout(height=340)
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "row": "run", "strength": "t [1]", "lambda": "λ [1]", "score": "score [fraction]",
        "intruders": "intruders left [count]", "mitigated": "scaled [count]",
    }  # fmt: skip
    return named(table)[list(columns)].rename(columns=columns)


def _describe(table: pd.DataFrame) -> str:
    parts = []
    for row, part in named(table).groupby("row", sort=False):
        part = part.sort_values("lambda")
        removed, kept = part.iloc[0], part.iloc[-1]
        parts.append(
            f"{row} at t = {kept['strength']:g}: score {kept['score']:.3f} with all {kept['mitigated']:g} intruders "
            f"(λ = {kept['lambda']:g}), {removed['score']:.3f} at λ = {removed['lambda']:g}"
        )
    return "; ".join(parts) + "."


def _example() -> pd.DataFrame:
    """Made-up scores that fall as intruders are removed."""
    rows = [
        {"label": label, "lambda": x, "strength": t, "score": top - drop * (1 - x) ** 2,
         "intruders": round(12 * x), "mitigated": 12}
        for label, t, top, drop in (("LoRA r = 8", 4.0, 0.9, 0.2), ("full fine-tuning", 32.0, 0.8, 0.05))
        for x in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]  # fmt: skip
    return pd.DataFrame(rows)


INTRUDER_MITIGATION = Figure(
    name="intruder_mitigation",
    title="Intruders scaled down",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Validation score and number of intruder dimensions left after scaling those of W₁ = W₀ + t·ΔW by λ, W₁ + (λ − "
        "1)·Σσ_j u_j v_jᵀ, at the least tried strength t at which the run has any."
    ),
    reading=(
        "λ = 1 changes nothing, λ = 0 removes the intruders; some published descriptions have it the other way round. "
        "A flat score: the intruders carry nothing that the task needs. A score that falls towards λ = 0: they carry "
        "what was learnt. Removing one direction can let the next one pass the line, so the count need not reach zero."
    ),
    source=(SHUTTLEWORTH_2024,),
    example=_example,
)
