"""How the count of intruder dimensions depends on k and ε."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.intruders import NULLS, by_strength
from lab.figures.sources import SHUTTLEWORTH_2024
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("intruder_sweep", "label", "kind", "strength", "k", "epsilon", "count")

_DASHES = {"random": "dot", "signs": "dashdot"}


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=table.strength.nunique(), height=300, share_x=True, share_y=True)
    for (label, strength), part in by_strength(table):
        panel = grid.panel(f"{label} · t = {strength:g}")
        for k, own in part.groupby("k"):
            for kind, line in split(own, "kind"):
                line, null = line.sort_values("epsilon"), NULLS.get(kind, "").partition(",")[0]
                name = f"k = {k:g}" + (f", {null}" if null else "")
                look: dict[str, Any] = {
                    "colour": grid.colour(f"k = {k:g}"),
                    "dash": _DASHES.get(kind, "solid"),
                    "width": 1.6,
                }
                panel.line(line.epsilon, line["count"], name, symbol=grid.symbol(f"k = {k:g}"), size=5, **look)
    return grid.x("ε [1]").y("intruders [per matrix]", zero=True)


def _answer(table: pd.DataFrame) -> Answer:
    """Counts at the largest k, one column per ε."""
    most = table[table.k == table.k.max()]
    index = ["label", "kind", "strength", "k"]
    found = most.pivot_table(index=index, columns="epsilon", values="count", sort=False).reset_index()
    found.columns = [f"ε = {name:g}" if isinstance(name, float) else str(name) for name in found.columns]
    names = {"label": "run", "kind": "directions", "strength": "t [1]", "k": "k [count]"}
    strongest = table[table.strength == table.groupby("label").strength.transform("max")]
    told = [
        f"{label}, {kind}: {part['count'].min():.1f} to {part['count'].max():.1f} at t = {part.strength.iloc[0]:g}"
        for label, own in split(strongest, "label")
        for kind, part in split(own, "kind")
    ]
    return Answer(listed("Intruders a matrix, depending on k and ε", told), found.rename(columns=names))


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
    build=_build,
    conclude=_answer,
    group="weights",
    order=6,
    caption=(
        "Intruder dimensions per matrix (mean) over the line ε of the overlap, one colour per number k of leading "
        "directions looked at, one panel per run and strength t; dotted: updates with the same singular values and "
        "random directions; dash-dotted, for dense ΔW: with the same entries and random signs."
    ),
    reading=(
        "A count that hardly depends on ε between 0.3 and 0.7 is about new directions: their overlap is near zero. A "
        "count that rises steadily with ε is about mixing: directions of W₀ with nearly equal singular values turn "
        "into each other, and where to draw the line is arbitrary. Only the difference to the dotted lines of the same "
        "colour says something about training."
    ),
    source=(SHUTTLEWORTH_2024,),
    example=_example,
)
