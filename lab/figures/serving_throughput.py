"""Rows served per second when a batch holds rows of several users, by strategy."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, plain

_COLUMNS = {
    "model": Column("the PLM", TEXT),
    "label": Column("how the batch is served", TEXT),
    "users": Column("users whose rows are in the batch", "count"),
    "rows": Column("rows of the batch", "count"),
    "round": Column("number of the measurement", "count"),
    "rows_per_second": Column("throughput", "1/s"),
}


def _medians(table: pd.DataFrame) -> pd.DataFrame:
    groups = table.groupby(["model", "label", "users", "rows"], sort=False).rows_per_second
    return groups.agg(["median", "min", "max"]).reset_index()


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    figure = go.Figure()
    found = _medians(table)
    several = found.model.nunique() > 1
    for i, ((model, label), part) in enumerate(found.groupby(["model", "label"], sort=False)):
        part = part.sort_values("users")
        name, colour = plain(f"{label}, {model}" if several else label), theme.colour(i)
        dash = "dot" if "peft" in str(label) else "solid"
        figure.add_scatter(
            x=part.users, y=part["median"], name=name, mode="lines+markers",
            error_y={"array": part["max"] - part["median"], "arrayminus": part["median"] - part["min"], "width": 3,
                     "thickness": 1},
            line={"color": colour, "width": 2, "dash": dash},
            marker={"color": colour, "symbol": theme.symbol(i), "size": 8},
            hovertemplate=f"%{{x}} users: %{{y:.4g}} rows/s<extra>{name}</extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="users in the batch [count]", type="log", tickvals=sorted(found.users.unique()))
    figure.update_yaxes(title_text="rows served [1/s]", rangemode="tozero")
    figure.update_layout(height=400)
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per number of users and strategy: median throughput and its range over the rounds."""
    names = {"users": "users [count]", "rows": "rows [count]", "median": "rows per second [1/s]",
             "min": "slowest [1/s]", "max": "fastest [1/s]"}  # fmt: skip
    return _medians(table).rename(columns=names)


def _describe(table: pd.DataFrame) -> str:
    sentences = []
    for (model, users), part in _medians(table).groupby(["model", "users"], sort=False):
        ordered = part.sort_values("median")
        best, worst = ordered.iloc[-1], ordered.iloc[0]
        sentences.append(
            f"{model}, {users:g} users: fastest is {best.label} with {best['median']:.4g} rows per second, slowest "
            f"{worst.label} with {worst['median']:.4g}."
        )
    return " ".join(sentences)


def _example() -> pd.DataFrame:
    """Made-up throughput: one pass keeps its speed, one pass per user loses it."""
    rows = []
    for users in (1, 8, 64):
        for label, speed in (("mixed batch (vmap)", 300.0), ("users in turn", 320.0 / (1 + users / 16))):
            rows += [("small", label, users, 64, round_, speed * (1 + 0.03 * round_)) for round_ in range(3)]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


SERVING_THROUGHPUT = Figure(
    name="serving_throughput",
    title="One batch for many users",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Rows served per second by one PLM when the rows of a batch belong to several users, each with a LoRA of their "
        "own: median (line) and range (bars) over rounds in which all strategies take turns."
    ),
    reading=(
        "With one user all strategies but one row at a time run the same pass. As users grow, one pass per user works "
        "on ever fewer rows at a time and leaves the processor idle; a strategy whose line stays level serves many "
        "users at the price of one. Dotted lines are the peft library on the same weights and the same adapters."
    ),
    source=(DING_2022,),
    example=_example,
)
