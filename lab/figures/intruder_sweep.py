"""How the count of intruder dimensions depends on k and ε."""

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
    "kind": Column("tuned, or random: ΔW with the same singular values and random directions", TEXT),
    "strength": Column("t in W₀ + t·ΔW", "1"),
    "k": Column("leading directions looked at", "count"),
    "epsilon": Column("ε, the line of the overlap", "1"),
    "count": Column("intruders per matrix, mean", "count"),
}
_OPTIONAL = {"model": Column("the PLM", TEXT)}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    table = named(table)
    rows, strengths = list(dict.fromkeys(table["row"])), sorted(table["strength"].unique())
    ks = sorted(table["k"].unique())
    figure = make_subplots(
        len(rows), len(strengths), shared_xaxes="all", shared_yaxes="all", horizontal_spacing=0.03,
        vertical_spacing=0.26 / max(len(rows), 2),
        subplot_titles=[plain(f"{row} · t = {t:g}") for row in rows for t in strengths],
    )  # fmt: skip
    figure.update_annotations(font=None)
    for r, row in enumerate(rows, start=1):
        for c, strength in enumerate(strengths, start=1):
            for i, k in enumerate(ks):
                for kind, dash in (("tuned", "solid"), ("random", "dot")):
                    at = (table["row"] == row) & (table["strength"] == strength) & (table["k"] == k)
                    chosen = table["kind"] == "random" if kind == "random" else table["kind"] != "random"
                    part = table[at & chosen].sort_values("epsilon")
                    if len(part):
                        name = f"k = {k:g}" + (", random directions" if kind == "random" else "")
                        figure.add_scatter(
                            x=part["epsilon"], y=part["count"], mode="lines+markers", name=name, legendgroup=name,
                            line={"color": theme.colour(i), "dash": dash, "width": 1.6}, marker={"size": 5},
                            showlegend=r == c == 1, row=r, col=c,
                        )  # fmt: skip
    for c in range(1, len(strengths) + 1):
        figure.update_xaxes(title_text="ε [1]", row=len(rows), col=c)
    for r in range(1, len(rows) + 1):
        figure.update_yaxes(title_text="intruders [per matrix]", row=r, col=1)
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(height=max(330, 200 * len(rows)))
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Counts at the largest k, one column per ε."""
    table = named(table)
    most = table[table["k"] == table["k"].max()]
    found = most.pivot_table(
        index=["row", "kind", "strength", "k"], columns="epsilon", values="count", sort=False
    ).reset_index()
    found.columns = [f"ε = {name:g}" if isinstance(name, float) else str(name) for name in found.columns]
    return found.rename(columns={"row": "run", "kind": "directions", "strength": "t [1]", "k": "k [count]"})


def _describe(table: pd.DataFrame) -> str:
    table = named(table)
    parts = []
    for (row, kind), part in table.groupby(["row", "kind"], sort=False):
        strongest = part[part["strength"] == part["strength"].max()]
        parts.append(
            f"{row}, {kind}: {strongest['count'].min():.1f} to {strongest['count'].max():.1f} intruders a matrix at "
            f"t = {strongest['strength'].iloc[0]:g}, depending on k and ε"
        )
    return "; ".join(parts) + "."


def _example() -> pd.DataFrame:
    """Made-up counts that grow with k, ε and t."""
    rows = [
        {"label": "LoRA r = 8", "kind": kind, "strength": t, "k": k, "epsilon": e, "count": scale * k * e * t / 8}
        for kind, scale in (("tuned", 0.5), ("random", 1.0))
        for t in (1.0, 8.0)
        for k in (1, 10)
        for e in (0.3, 0.5, 0.7)
    ]
    return pd.DataFrame(rows)


INTRUDER_SWEEP = Figure(
    name="intruder_sweep",
    title="Intruder dimensions over k and ε",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Intruder dimensions per matrix (mean) over the line ε of the overlap, one colour per number k of leading "
        "directions looked at, one panel per run and strength t; dotted: updates with the same singular values and "
        "random directions."
    ),
    reading=(
        "A count that hardly depends on ε between 0.3 and 0.7 is about new directions: their overlap is near zero. A "
        "count that rises steadily with ε is about mixing: directions of W₀ with nearly equal singular values turn "
        "into each other, and where to draw the line is arbitrary. Only the difference to the dotted line of the same "
        "colour says something about training."
    ),
    source=(SHUTTLEWORTH_2024,),
    example=_example,
)
