"""Which ranks each rule gave to which matrix."""

from __future__ import annotations

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, first_seen, listed, split
from lab.figures.sources import HU_2021, LI_2017
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("planner_ranks", "rule", "seed", "role", "block", "rank")


def _means(table: pd.DataFrame) -> pd.DataFrame:
    return table.groupby(["rule", "role", "block"], sort=False)["rank"].mean().reset_index()


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    means, rules = _means(table), first_seen(table.rule)
    grid = Grid(theme, wrap=4, height=60 + 38 * len(rules), share_y=True)
    for panel, part in grid.by(means, "role"):
        cells = part.pivot(index="rule", columns="block", values="rank").reindex(rules)
        text = [[f"{value:.1f}" for value in row] for row in cells.to_numpy()]
        panel.heat(cells, "rank [count]", low=0, text=text, gap=2, hover="block %{x}: rank %{z:.2f}, %{y}")
    return grid.x("block [index]", whole=True, options={"showgrid": False}).y(categories=rules)


def _answer(table: pd.DataFrame) -> Answer:
    """Per rule: its largest and smallest mean rank, and the share of all ranks in the deeper half of the blocks."""
    rows, half = [], (table.block.max() + 1) / 2
    for rule, part in split(_means(table), "rule"):
        most, least, total = (
            part.iloc[int(part["rank"].to_numpy().argmax())],
            part["rank"].min(),
            float(part["rank"].sum()),
        )
        row = {"rule": rule, "largest rank [count]": most["rank"], "at": f"{most.role} {most.block}"}
        row |= {"smallest rank [count]": least, "ranks in all [count]": total}
        rows.append(
            row | {"share in the deeper half": float(part["rank"][part.block >= half].sum()) / max(total, 1e-9)}
        )
    told = [
        f"{row['rule']}: {row['smallest rank [count]']:.1f} to {row['largest rank [count]']:.1f}, most at {row['at']}"
        for row in rows
    ]
    return Answer(listed("Ranks that each rule shares out", told), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made-up plans of two rules for six blocks."""
    rows = [
        (rule, seed, role, block, rank + (seed if block == 3 else 0))
        for rule, ranks in {"by kernel": (1, 2, 3, 4, 4, 4), "by gramian": (5, 4, 3, 3, 2, 1)}.items()
        for seed in (0, 1)
        for role in ("query", "value")
        for block, rank in enumerate(ranks)
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


PLANNER_RANKS = Figure(
    name="planner_ranks",
    title="Where each rule puts the ranks",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=12,
    conclude=_answer,
    averages=("seed",),
    label="rule",
    caption=(
        "Rank that each rule gives to the query and value matrix of each block at the same number of parameters; mean "
        "over seeds."
    ),
    reading=(
        "A row is one rule, and all rows spend the same budget. Rules that see the labels (kernel, layer score, "
        "spectrum) depend on the seed through the new head and the batch; random ranks are the null. Where rules "
        "disagree about depth, at most one of them can be right about where training needs its ranks: the figure of "
        "planned against equal ranks shows which."
    ),
    source=(LI_2017, HU_2021),
    example=_example,
)
