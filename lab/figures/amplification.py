"""What an update's directions carry in W₀: ‖UᵀW₀V‖_F onto ΔW's, W₀'s own and random directions, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import HU_2021
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns(
    "amplification",
    "label",
    "role",
    "block",
    "rank",
    "delta_norm",
    "base_norm",
    "onto_delta",
    "onto_base",
    "onto_random",
    "factor",
)


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    ranks = sorted(table["rank"].unique())
    grid = Grid(theme, wrap=len(ranks), height=300, share_x=True, share_y=True, labels=table.label)
    places = [name for name in ("model", "task") if name in table]
    for place, own in split(table, *places, "role"):
        for rank in ranks:
            part = own[own["rank"] == rank]
            panel = grid.panel(f"{place} · r = {rank:g}")
            level = part.drop_duplicates("block").sort_values("block")
            panel.line(level.block, level.onto_base, "W₀'s own directions", colour=theme.muted, width=1.5)
            panel.line(level.block, level.onto_random, "random directions", colour=theme.muted, dash="dot", width=1.5)
            for label, points in split(part, "label") if len(part) else ():
                points, look = points.sort_values("block"), grid.look(label)
                hover = "block %{x}: %{y:.3g}<br>amplification %{customdata[0]:.3g}"
                marked: dict[str, Any] = {"colour": look.colour, "symbol": look.symbol, "size": 7}
                panel.points(points.block, points.onto_delta, label, data=[points.factor], hover=hover, **marked)
    return grid.x("block [index]", whole=True).y("‖UᵀW₀V‖<sub>F</sub> [1]", log=True)


def _answer(table: pd.DataFrame) -> Answer:
    """In the form of Hu et al.'s Table 7: means over matrices per update and rank."""
    columns = {
        "delta_norm": "‖ΔW‖",
        "base_norm": "‖W₀‖",
        "onto_delta": "onto ΔW's",
        "onto_base": "onto W₀'s",
        "onto_random": "onto random",
    }
    names = [name for name in ("model", "task", "label", "rank") if name in table]
    grouped = table.groupby(names, sort=False)
    found = grouped[list(columns)].mean().rename(columns=columns)
    found["amplification, median"] = grouped["factor"].median()
    found = found.reset_index().rename(columns={"label": "update", "rank": "r [count]"})
    least = table[table["rank"] == table["rank"].min()]
    told = [
        f"{label}: {(part.onto_delta / part.onto_random).mean():.1f} times the random level, "
        f"{(part.onto_delta / part.onto_base).mean():.2f} of W₀'s own"
        for label, part in split(least, "model", "task", "label")
    ]
    return Answer(listed(f"W₀ along the first {least['rank'].iloc[0]:g} directions of each update", told), found)


def _example() -> pd.DataFrame:
    """Made-up projections: the update's directions between W₀'s own and random ones."""
    rows = [
        {"label": label, "role": role, "block": block, "rank": rank, "delta_norm": norm}
        | {"base_norm": 20.0, "onto_delta": onto * np.sqrt(rank) * (1 + 0.1 * block)}
        | {"onto_base": 5.0 * np.sqrt(rank), "onto_random": 20.0 * rank / 384}
        | {"factor": norm / (onto * np.sqrt(rank) * (1 + 0.1 * block))}
        for label, norm, onto in (("LoRA r = 8", 2.0, 0.3), ("full fine-tuning", 0.3, 0.6))
        for role in ("query", "value")
        for block in range(4)
        for rank in (4, 64)
    ]
    return pd.DataFrame(rows)


AMPLIFICATION = Figure(
    name="amplification",
    title="What updates amplify",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=4,
    apart=("model", "task"),
    caption=(
        "Norm of W₀ projected onto the first r singular directions of each update (points), onto W₀'s own (line) and "
        "onto random directions (dotted), block by block; the table has the form of Table 7 of Hu et al., with its "
        "random column."
    ),
    reading=(
        "Points near the dotted line: to W₀ the update's directions are as good as random: it adds something new. "
        "Points near the upper line: it strengthens what W₀ already emphasises. In between, above the dotted line, it "
        "picks up directions that W₀ has but does not emphasise. The amplification factor ‖ΔW‖/‖UᵀW₀V‖ grows with the "
        "length of training and the step size; the position between the lines hardly does, so compare that."
    ),
    source=(HU_2021,),
    example=_example,
)
