"""Does the likeness of two updates tell how well they transfer? One point per pair of tasks and method."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import DING_2022, HU_2021
from lab.figures.style import Theme, plain
from lab.statistics.transfer import correlations

_COLUMNS = {
    "label": Column("method, and how its head is treated", TEXT),
    "pair": Column("the two tasks", TEXT),
    "types": Column("inside (both of one type) or across", TEXT),
    "cosine": Column("cosine of the two updates, all matrices in one vector", "1"),
    "subspace": Column("mean over matrices of the similarity of their leading input directions", "1"),
    "random": Column("that similarity for random directions", "1"),
    "transfer": Column("relative transfer, mean of both directions", "1"),
}
_PANELS = {"cosine": "cosine of the updates [1]", "subspace": "subspace similarity of the updates [1]"}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    labels = list(dict.fromkeys(table.label))
    for column, (quantity, title) in enumerate(_PANELS.items(), start=1):
        place = {"row": 1, "col": column}
        null = 0.0 if quantity == "cosine" else float(table.random.mean())
        if np.isfinite(null):
            figure.add_vline(x=null, line={"color": theme.muted, "dash": "dash", "width": 1}, **place)
        for i, label in enumerate(labels):
            for types, hollow in (("across", "-open"), ("inside", "")):
                part = table[(table.label == label) & (table.types == types)]
                if len(part):
                    marker = {"color": theme.colour(i), "symbol": theme.symbol(i) + hollow, "size": 9}
                    figure.add_scatter(
                        x=part[quantity], y=part.transfer, mode="markers", showlegend=False, marker=marker,
                        customdata=[plain(pair) for pair in part.pair],
                        hovertemplate="%{customdata}<br>%{x:.3f}, transfer %{y:.2f}<extra>" + plain(label) + "</extra>",
                        **place,
                    )  # fmt: skip
        figure.update_xaxes(title_text=title, **place)
    figure.update_yaxes(title_text="relative transfer [1]", row=1, col=1)
    for i, label in enumerate(labels):
        marker = {"color": theme.colour(i), "symbol": theme.symbol(i), "size": 9}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=plain(label), marker=marker, row=1, col=1)
    for name, hollow in (("of one type", ""), ("of two types", "-open")):
        marker = {"color": theme.muted, "symbol": f"circle{hollow}", "size": 9}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker, row=1, col=1)
    line = {"color": theme.muted, "dash": "dash", "width": 1}
    figure.add_scatter(x=[None], y=[None], mode="lines", name="unrelated updates", line=line, row=1, col=1)
    figure.update_layout(height=400)
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    found = {quantity: correlations(table, quantity) for quantity in _PANELS}
    for label in dict.fromkeys(table.label):
        row: dict[str, object] = {"method": label}
        for quantity, by_label in found.items():
            rho = by_label.get(str(label))
            row |= {f"ρ with {quantity} [1]": np.nan if rho is None else rho.estimate}
            row |= {f"{quantity} low": np.nan if rho is None else max(rho.low, -1.0)}
            row |= {f"{quantity} high": np.nan if rho is None else min(rho.high, 1.0)}
        rows.append(row | {"pairs [count]": int((table.label == label).sum())})
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    parts = []
    for quantity in _PANELS:
        told = [
            f"{label} {rho.estimate:+.2f} [{max(rho.low, -1):+.2f}, {min(rho.high, 1):+.2f}]"
            for label, rho in correlations(table, quantity).items()
            if rho.estimate == rho.estimate
        ]
        parts.append(f"{quantity}: {'; '.join(told) or 'not enough pairs'}")
    return f"Rank correlation over pairs of tasks between transfer and the updates' {', and '.join(parts)}."


def _example() -> pd.DataFrame:
    """Made-up pairs: what is alike transfers, more or less."""
    rows = []
    for label in ("LoRA", "prompt"):
        for i in range(10):
            cosine = 0.05 * i - 0.1 + (0.05 if label == "LoRA" else 0.0)
            rows.append(
                {"label": label, "pair": f"task {i % 5} · task {i % 4}", "types": "inside" if i > 7 else "across",
                 "cosine": cosine, "subspace": 0.1 + 0.03 * i, "random": 0.02,
                 "transfer": 1.5 * cosine + 0.1 * np.cos(4 * i)}
            )  # fmt: skip
    return pd.DataFrame(rows)


TRANSFER_SIMILARITY = Figure(
    name="transfer_similarity",
    title="Transfer and the likeness of updates",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Relative transfer between two tasks (mean of both directions) against the cosine of the two updates (left) "
        "and the similarity of their leading input directions (right), one point per pair of tasks and method; filled: "
        "both tasks of one type. Dashed: unrelated updates."
    ),
    reading=(
        "If likeness told transfer, points would rise to the right. Runs share their start and their order of steps, "
        "so updates of unrelated tasks may already be more alike than random ones (the dashed line); compare pairs "
        "with each other, not with the line alone. Pairs of five tasks are few and share tasks: the intervals in the "
        "table take them as independent, so they are too narrow rather than too wide."
    ),
    source=(DING_2022, HU_2021),
    example=_example,
)
