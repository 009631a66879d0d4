"""Intruder dimensions: the overlap of each leading direction of W₀ + t·ΔW with W₀'s own, and counts over k and ε."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import BENAYCH_GEORGES_2012, SHUTTLEWORTH_2024
from lab.figures.style import Theme
from lab.statistics import Answer

EPSILON = 0.5
"""The paper's line."""

NULLS = {"random": "random directions, same singular values", "signs": "random signs, same entries"}
"""What chance makes of ΔW, and how it is called; each has two rows below those of the matrices."""

_COLUMNS = columns("intruders", "label", "kind", "matrix", "block", "strength", "index", "overlap")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """A panel per run and strength, every run in a row of its own: its matrices by the number of the direction, the
    nulls' rows below them."""
    rows = {label: _rows(own) for label, own in split(table, "label")}
    most = max(map(len, rows.values()))
    grid = Grid(theme, wrap=table.strength.nunique(), height=60 + 18 * most, share_x=True)
    hover = "%{y}, u<sub>%{x}</sub>: overlap %{z:.3f}"
    begun: set[str] = set()
    for (label, strength), part in by_strength(table):
        names = rows[label]
        cells = part[~part.kind.isin(NULLS)].pivot_table("overlap", "matrix", "index").rename(index=names)
        for kind in (kind for kind in NULLS if (part.kind == kind).any()):
            own = part[part.kind == kind].pivot_table("overlap", "matrix", "index")
            below = {f"{kind}, mean": own.mean(), f"{kind}, least": own.min()}
            cells = pd.concat([cells, pd.DataFrame(below).T])
        cells = cells.reindex(list(names.values())).sort_index(
            axis=1
        )  # plotly draws no heat map without a row for every name of its axis
        panel = grid.panel(f"{label} · t = {strength:g}", new_row=label not in begun)
        begun.add(label)
        panel.y("matrix [name]", categories=list(names.values()))
        panel.heat(cells, "largest overlap [1]", low=0, high=1, hover=hover)
        marks = pd.Series(cells.stack())
        marks = marks[marks < EPSILON]
        cross: dict[str, Any] = {"colour": "#ffffff", "symbol": "x-thin", "size": 5, "edge": "#ffffff"}
        cross |= {"edge_width": 1.2, "key": "below ε = ½", "listed": False, "data": [marks]}
        if len(marks):
            j, row = marks.index.get_level_values(1), marks.index.get_level_values(0)
            panel.points(j, row, "below ε = ½", hover=hover.replace("%{z", "%{customdata[0]"), **cross)
    last = int(table["index"].max())
    return grid.x("j [count]", whole=True, ticks=range(1, last + 1, max(1, last // 4)), options={"showgrid": False})


def _rows(own: pd.DataFrame) -> dict[Any, str]:
    """The rows of a run, from its matrices to its nulls, and how they are called."""
    matrices = list(dict.fromkeys(own.sort_values("block", kind="stable").matrix))
    nulls = [kind for kind in NULLS if (own.kind == kind).any()]
    below = [f"{kind}, {which}" for kind in nulls for which in ("mean", "least")]
    return dict(zip(matrices, _short(matrices), strict=True)) | {name: name for name in below}


def _short(matrices: list[Any]) -> list[str]:
    """Block and last part: "2 query" of "block.2.query.weight", "2 q_proj" of "model.layers.2.self_attn.q_proj.weight";
    the names as they are where that does not tell them apart."""
    plain = [str(matrix).removesuffix(".weight") for matrix in matrices]
    found = [re.fullmatch(r"(?:.*?\.)??(\d+)\.(?:.+\.)?(\w+)", name) for name in plain]
    short = [f"{one[1]} {one[2]}" if one else str(matrix) for one, matrix in zip(found, matrices, strict=True)]
    return short if len(set(short)) == len(short) else [str(matrix) for matrix in matrices]


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
        | {"overlap": max(0.1, 1 - 0.005 * j * strength * (1 + (kind != "tuned") + 0.2 * block))}
        for label in ("LoRA r = 8", "full fine-tuning")
        for kind in ("tuned", "random", "signs")[: 2 if label == "LoRA r = 8" else 3]
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
        "Largest overlap (colour) of the j-th left singular vector of W₀ + t·ΔW with any left singular vector of W₀, "
        "one row per matrix (number: its block) and one panel per run and strength t; crosses: overlaps below ε = ½, "
        "which Shuttleworth et al. call intruders; the last rows: mean and least over the matrices for updates with "
        "the same singular values and random directions, and for dense ΔW with the same entries and random signs."
    ),
    reading=(
        "t = 1 is the model as trained; a larger t is what a larger α does, or longer training along the same "
        "direction. A dark cell with a cross at a small j is a strong direction that W₀ does not have. "
        "The rows of random directions and of random signs show what size alone would do: rows brighter than they mean "
        "that the update respects W₀'s directions more than chance, darker ones that it avoids them. Crosses at larger "
        "j are often neighbouring directions of "
        "W₀ that mix, whose singular values nearly agree: look at the sweep over ε before calling them new."
    ),
    source=(SHUTTLEWORTH_2024, BENAYCH_GEORGES_2012),
    example=_example,
)
