"""Principal angles between leading singular subspaces, each matrix a line, beside the band of random subspaces."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed
from lab.figures.sources import HU_2021
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("principal_angles", "comparison", "side", "role", "block", "index", "angle", "null_low", "null_high")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2 * (2 if table.comparison.nunique() > 2 else 1), height=300, share_y=True)
    grid.depths(table.block.dropna())
    for panel, part in grid.by(table, "comparison", "side"):
        null = part.groupby("index").agg(low=("null_low", "min"), high=("null_high", "max"))
        panel.band(null.index, null.low, null.high, "random subspaces (95 % of them)", colour=theme.muted, alpha=0.3)
        for (role, block), matrix in part.groupby(["role", "block"], sort=False):
            name, hover = f"block {block:g} {role}", "angle %{x}: %{y:.1f}°"
            panel.line(matrix["index"], matrix.angle, name, depth=block, symbol="circle", size=4, hover=hover)
    least = min(float(table.angle.min()), float(table.null_low.min()))
    floor = 15 * int(max(0.0, least) // 15)
    step = 30 if floor == 0 else 15
    return grid.x("angle [number]", whole=True).y("θ [degrees]", range=(floor - 2, 92), ticks=range(floor, 91, step))


def _answer(table: pd.DataFrame) -> Answer:
    """Per comparison and side: the median first angle, its null, and how many angles lie below the null."""
    rows = []
    for (comparison, side), part in table.groupby(["comparison", "side"], sort=False):
        first = part[part["index"] == part["index"].min()]
        below = (part.angle < part.null_low).groupby([part.role, part.block]).sum()
        row: dict[str, Any] = {
            "comparison": comparison,
            "side": side,
            "smallest angle [degrees]": float(first.angle.median()),
        }
        row |= {"random, lower end [degrees]": float(first.null_low.median())}
        row |= {"angles below random [count]": float(below.median()), "of [count]": int(part["index"].max())}
        rows.append(row | {"matrices [count]": len(below)})
    found = pd.DataFrame(rows)
    told = [
        f"{row['comparison']} ({row['side']}): {row['smallest angle [degrees]']:.0f}°, "
        f"at random {row['random, lower end [degrees]']:.0f}° or more"
        for row in found.sort_values("smallest angle [degrees]").to_dict("records")
    ]
    return Answer(listed("Smallest principal angle, median over matrices", told), found)


def _example() -> pd.DataFrame:
    """Made-up angles: the first two shared, the rest as at random."""
    return pd.DataFrame(
        [
            {"comparison": comparison, "side": side, "role": "query", "block": block, "index": k}
            | {"angle": min(89.0, start + 15 * (k - 1) + block), "null_low": 70.0 + 4 * k}
            | {"null_high": 75.0 + 3.5 * k}
            for comparison, start in (("seed against seed", 25.0), ("ΔW against W₀", 72.0))
            for side in ("inputs", "outputs")
            for block in range(3)
            for k in range(1, 5)
        ]
    )


PRINCIPAL_ANGLES = Figure(
    name="principal_angles",
    title="Principal angles between updates",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=3,
    label="comparison",
    caption=(
        "Principal angles between the leading singular subspaces of two updates, one line per matrix (colour: depth), "
        "in increasing order, for inputs and outputs; grey: the range that 95 % of random subspaces of the same "
        "dimensions give, over all compared matrices."
    ),
    reading=(
        "0° is a direction that both have, 90° one that the other lacks entirely. In a space of hundreds of dimensions "
        "random subspaces are nearly orthogonal, so angles in the grey band mean nothing is shared. A line that starts "
        "far below the band and joins it after k angles shares k directions. The mean of cos²θ is the similarity φ(k, "
        "k) of the grids; the angles say whether it comes from one shared direction or from many half-shared ones."
    ),
    source=(HU_2021,),
    example=_example,
)
