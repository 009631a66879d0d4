"""Intruder dimensions: the overlap of each leading direction of W₀ + t·ΔW with W₀'s own, and counts over k and ε."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lab.figures.definition import TEXT, Column, Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024
from lab.figures.style import Theme
from lab.statistics import Answer

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


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=table.strength.nunique(), height=300, share_x=True, share_y=True)
    grid.depths(table.block.dropna())
    for (label, strength), part in by_strength(table):
        panel = grid.panel(f"{label} · t = {strength:g}")
        null = part[part.kind == "random"].groupby("index").overlap.agg(["min", "max"])
        if len(null):
            name = "random directions, same singular values"
            panel.band(null.index, null["min"], null["max"], name, colour=theme.muted, alpha=0.3)
        for (matrix, block), own in part[part.kind != "random"].groupby(["matrix", "block"], sort=False):
            hover = "u<sub>%{x}</sub>: %{y:.3f}"
            panel.line(own["index"], own.overlap, str(matrix), depth=block, width=1.3, hover=hover)
        panel.rule(y=EPSILON, name="ε = ½", colour=theme.ink, dash="dash")
    return grid.x("j [count]", log=True).y("largest overlap [1]", range=(0, 1.03))


def by_strength(table: pd.DataFrame) -> list[tuple[tuple[str, Any], pd.DataFrame]]:
    """The parts of a table by label, in the order of first rows, and by rising strength."""
    return [((label, t), part) for label, own in split(table, "label") for t, part in own.groupby("strength")]


def _answer(table: pd.DataFrame) -> Answer:
    """Intruders among the first ten directions, per run, strength and kind."""
    rows = []
    for (label, strength, kind), part in table.groupby(["label", "strength", "kind"], sort=False):
        first = part[part["index"] <= 10]
        counts = (first.overlap < EPSILON).groupby(first.matrix).sum()
        rows.append((label, kind, strength, counts.sum(), (counts > 0).sum(), len(counts), first.overlap.min()))
    names = ["run", "directions", "t [1]", "intruders [count]", "matrices with one [count]", "matrices [count]"]
    found = pd.DataFrame(rows, columns=[*names, "least overlap [1]"])
    told = []
    for label, part in split(found, "run"):
        kinds = part.pivot_table(index="t [1]", columns="directions", values="intruders [count]", sort=False)
        found_at = [
            f"{' and '.join(f'{row[kind]:g} ({kind})' for kind in row.dropna().index)} at t = {strength:g}"
            for strength, row in kinds.sort_index().iterrows()
        ]
        told.append(f"{label}: {', '.join(found_at)}")
    return Answer(listed("Intruders among the ten leading directions of all matrices", told), found)


def _example() -> pd.DataFrame:
    """Made-up overlaps: nothing at t = 1, one intruder at t = 8."""
    rows = [
        {"label": label, "kind": kind, "matrix": f"block.{block}.query", "block": block}
        | {"strength": strength, "index": j}
        | {"overlap": max(0.1, 1 - 0.005 * j * strength * (1 + (kind == "random") + 0.2 * block))}
        for label in ("LoRA r = 8", "full fine-tuning")
        for kind in ("tuned", "random")
        for block in range(3)
        for strength in (1.0, 8.0)
        for j in range(1, 13)
    ]
    return pd.DataFrame(rows)


INTRUDERS = Figure(
    name="intruders",
    title="Intruder dimensions",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=5,
    caption=(
        "Largest overlap of the j-th left singular vector of W₀ + t·ΔW with any left singular vector of W₀, one line "
        "per matrix (colour: depth) and one panel per run and strength t; grey: the range over matrices for updates "
        "with the same singular values and random directions; dashed: ε = ½, below which Shuttleworth et al. call a "
        "direction an intruder."
    ),
    reading=(
        "t = 1 is the model as trained; a larger t is what a larger α does, or longer training along the same "
        "direction. A line that drops below the dashed one at a small j has a strong direction that W₀ does not have. "
        "The grey band shows what size alone would do: lines above it mean that the update respects W₀'s directions "
        "more than chance, lines below it that it avoids them. Dips at larger j are often neighbouring directions of "
        "W₀ that mix, whose singular values nearly agree: look at the sweep over ε before calling them new."
    ),
    source=(SHUTTLEWORTH_2024, BENAYCH_GEORGES_2012),
    example=_example,
)
