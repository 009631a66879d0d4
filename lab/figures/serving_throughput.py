"""Rows served per second when a batch holds rows of several users, by strategy."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, counted
from lab.statistics import Answer

_COLUMNS = columns("serving_throughput", "model", "label", "users", "rows", "round", "rows_per_second")


def _medians(table: pd.DataFrame) -> pd.DataFrame:
    groups = table.groupby(["model", "label", "users", "rows"], sort=False).rows_per_second
    return groups.agg(["median", "min", "max"]).reset_index()


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid, found = Grid(theme, height=400), _medians(table)
    panel = grid.panel()
    for name, part in split(found, "label", "model"):
        part, y = part.sort_values("users"), part.sort_values("users")["median"]
        look: dict[str, Any] = {
            "symbol": grid.symbol(name),
            "size": 8,
            "dash": "dot" if "peft" in name else "solid",
            "width": 2,
        }
        bars: dict[str, Any] = {"error": part["max"] - y, "error_down": y - part["min"]}
        panel.line(part.users, y, name, hover="%{x} users: %{y:.4g} rows/s", **look, **bars)
    grid.x("users in the batch [count]", log=True, ticks=sorted(found.users.unique()))
    return grid.y("rows served [1/s]", zero=True)


def _answer(table: pd.DataFrame) -> Answer:
    """Per number of users and strategy: median throughput and its range over the rounds."""
    names = {
        "users": "users [count]",
        "rows": "rows [count]",
        "median": "rows per second [1/s]",
        "min": "slowest [1/s]",
        "max": "fastest [1/s]",
    }
    found, told = _medians(table), []
    for (model, _), part in found.groupby(["model", "users"], sort=False):
        worst, best = (part.sort_values("median").iloc[i] for i in (0, -1))
        told.append(
            f"{model}, {counted(int(best.users), 'user')}: {best.label} {best['median']:.4g}, "
            f"slowest {worst.label} {worst['median']:.4g}"
        )
    return Answer(listed("Rows served per second, the fastest first", told), found.rename(columns=names))


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
    conclude=_answer,
    group="methods",
    order=14,
    averages=("task", "seed"),
    caption=(
        "Rows served per second by one PLM when the rows of a batch belong to several users, each with a LoRA of their "
        "own: median (line) and range (bars) over rounds in which all strategies take turns."
    ),
    reading=(
        "With one user all strategies but one row at a time run the same pass. With more users, one pass per user "
        "works on ever fewer rows at a time and leaves the processor idle; a strategy whose line stays level serves "
        "many users at the price of one. Dotted lines are the peft library on the same weights and the same adapters."
    ),
    source=(DING_2022,),
    example=_example,
)
