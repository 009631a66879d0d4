"""Which ranks each rule gave to which matrix."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.definition import TEXT, Column, Figure, with_task
from lab.figures.sources import HU_2021, LI_2017
from lab.figures.style import Theme, plain

_COLUMNS = {
    "rule": Column("the rule that shared out LoRA's ranks", TEXT),
    "seed": Column("seed of the head and of the batch surveyed", "count"),
    "role": Column("the matrix's role in its block", TEXT),
    "block": Column("depth, from 0", "count"),
    "rank": Column("rank it got", "count"),
}
_TASK = {"task": Column("the task surveyed", TEXT)}


def _means(table: pd.DataFrame) -> pd.DataFrame:
    named = table.assign(rule=with_task(table, "rule"))
    return named.groupby(["rule", "role", "block"], sort=False)["rank"].mean().reset_index()


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    means = _means(table)
    roles, rules = list(dict.fromkeys(means.role)), list(dict.fromkeys(means.rule))
    figure = make_subplots(
        1, len(roles), shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=[plain(role) for role in roles]
    )
    figure.update_annotations(font=None)
    top = float(means["rank"].max())
    for column, role in enumerate(roles, start=1):
        grid = means[means.role == role].pivot(index="rule", columns="block", values="rank").reindex(rules)
        figure.add_heatmap(
            x=grid.columns, y=[plain(rule) for rule in rules], z=grid.to_numpy(), coloraxis="coloraxis",
            texttemplate="%{z:.1f}", xgap=2, ygap=2,
            hovertemplate="block %{x}: rank %{z:.2f}<extra>%{y}</extra>", row=1, col=column,
        )  # fmt: skip
        figure.update_xaxes(title_text="block [count]", dtick=1, showgrid=False, row=1, col=column)
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    scale = [[0.0, theme.background], [1.0, theme.colour(0)]]
    bar = {"title": {"text": "rank"}, "outlinewidth": 0}
    figure.update_layout(
        height=60 + 38 * len(rules), coloraxis={"colorscale": scale, "cmin": 0, "cmax": top, "colorbar": bar}
    )
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per rule: its largest and smallest mean rank, and the share of all ranks in the deeper half of the blocks."""
    means, half = _means(table), (table.block.max() + 1) / 2
    rows = []
    for rule, part in means.groupby("rule", sort=False):
        ordered = part.sort_values("rank", ascending=False, kind="stable").to_dict("records")
        total = float(part["rank"].sum())
        rows.append(
            {"rule": rule, "largest rank [count]": ordered[0]["rank"],
             "at": f"{ordered[0]['role']} {ordered[0]['block']}", "smallest rank [count]": ordered[-1]["rank"],
             "ranks in all [count]": total,
             "share in the deeper half": float(part["rank"][part.block >= half].sum()) / max(total, 1e-9)}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    return " ".join(
        f"{row['rule']}: ranks {row['smallest rank [count]']:.1f} to {row['largest rank [count]']:.1f}, most at "
        f"{row['at']}, {100 * row['share in the deeper half']:.0f} % in the deeper half."
        for row in _summary(table).to_dict("records")
    )


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
    summary=_summary,
    describe=_describe,
    caption=(
        "Rank that each rule gives to the query and value matrix of each block at the same number of parameters; mean "
        "over seeds."
    ),
    reading=(
        "A row is one rule, and all rows spend the same budget. Rules that see the labels (kernel, layer score, "
        "spectrum) depend on the seed through the new head and the batch; random ranks are the null. Where rules "
        "disagree about depth, at most one of them can be right about where training needs its ranks: the figure of "
        "planned against equal ranks tells."
    ),
    source=(LI_2017, HU_2021),
    example=_example,
    optional=_TASK,
)
