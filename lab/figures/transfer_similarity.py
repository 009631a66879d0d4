"""Does the likeness of two updates tell how well they transfer? One point per pair of tasks and method."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, first_seen, listed, split
from lab.figures.sources import DING_2022, HU_2021
from lab.figures.style import Theme
from lab.statistics import Answer
from lab.statistics.transfer import correlations

_COLUMNS = columns("transfer_similarity", "label", "pair", "types", "cosine", "subspace", "random", "transfer")
_PANELS = {"cosine": "cosine of the updates [1]", "subspace": "subspace similarity of the updates [1]"}


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    """One row per method and pair of tasks: the mean over its seeds, which are no new pairs for a correlation."""
    return table.groupby(["label", "pair", "types"], sort=False, as_index=False).mean(numeric_only=True)


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    table = _pairs(table)
    grid = Grid(theme, wrap=2, height=400, share_y=True, labels=table.label)
    for quantity, title in _PANELS.items():
        panel = grid.panel().x(title)
        null = 0.0 if quantity == "cosine" else float(table.random.mean())
        if np.isfinite(null):
            panel.rule(x=null, dash="dash", name="unrelated updates")
        for label, own in split(table, "label"):
            look = grid.look(label)
            for _, part in sorted(split(own, "types"), key=lambda pair: pair[0]):
                inside = part.types.iloc[0] == "inside"
                marked: dict[str, Any] = {
                    "colour": look.colour,
                    "symbol": look.symbol + ("" if inside else "-open"),
                    "size": 9,
                }
                marked["key"] = "both tasks of one type" if inside else "of two types"
                hover = "%{customdata[0]}<br>%{x:.3f}, transfer %{y:.2f}"
                panel.points(part[quantity], part.transfer, label, data=[part.pair], hover=hover, **marked)
    return grid.y("relative transfer [1]")


def _answer(table: pd.DataFrame) -> Answer:
    table = _pairs(table)
    found = {quantity: correlations(table, quantity) for quantity in _PANELS}
    rows, told, estimates = [], [], {}
    for label in first_seen(table.label):
        row: dict[str, object] = {"method": label}
        for quantity, by_label in found.items():
            rho = by_label.get(label)
            # "above 0" is a low end of the least positive number, which a table shows as 0
            ends = (np.nan,) * 3 if rho is None else (rho.estimate, max(round(rho.low, 12), -1.0), min(rho.high, 1.0))
            names = (f"ρ with {quantity} [1]", f"{quantity} low", f"{quantity} high")
            row |= dict(zip(names, ends, strict=True))
            if rho is not None and rho.estimate == rho.estimate:
                sign = "above 0" if rho.low > 0 else "not surely above 0"
                told.append(f"{label}: {rho.estimate:+.2f} ({sign}) with {quantity}")
                estimates[f"ρ with {quantity}, {label}"] = rho
        rows.append(row | {"pairs [count]": int((table.label == label).sum())})
    lead = "Rank correlation over pairs of tasks of transfer and the likeness of updates, its sign by Mantel's test"
    return Answer(listed(lead, told or ["not enough pairs"]), pd.DataFrame(rows), estimates)


def _example() -> pd.DataFrame:
    """Made-up pairs: what is alike transfers, more or less."""
    rows = []
    for label in ("LoRA", "prompt"):
        for i, pair in enumerate(combinations(range(5), 2)):
            cosine = 0.05 * i - 0.1 + (0.05 if label == "LoRA" else 0.0)
            rows.append(
                {"label": label, "pair": " · ".join(f"task {task}" for task in pair)}
                | {"types": "inside" if i > 7 else "across", "cosine": cosine, "subspace": 0.1 + 0.03 * i}
                | {"random": 0.02, "transfer": 1.5 * cosine + 0.1 * np.cos(4 * i)}
            )
    return pd.DataFrame(rows)


TRANSFER_SIMILARITY = Figure(
    name="transfer_similarity",
    title="Transfer and the likeness of updates",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="methods",
    order=7,
    averages=("seed",),
    caption=(
        "Relative transfer between two tasks (mean of both directions) against the cosine of the two updates (left) "
        "and the similarity of their leading input directions (right), one point per pair of tasks and method; filled: "
        "both tasks of one type. Dashed: unrelated updates."
    ),
    reading=(
        "If likeness predicted transfer, points would rise to the right. Runs share their start and their order of "
        "steps, so updates of unrelated tasks may already be more alike than random ones (the dashed line); compare "
        "pairs with each other, not with the line alone. Pairs share tasks, so that the intervals in the table count "
        "tasks and not pairs: they are from 0 to 1 where Mantel's test finds the correlation above 0, and from −1 to 1 "
        "where it does not; five tasks are few."
    ),
    source=(DING_2022, HU_2021),
    example=_example,
)
