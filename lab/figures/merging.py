"""What merged changes keep of every task."""

from __future__ import annotations

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, first_seen, listed, split
from lab.figures.sources import ILHARCO_2023, JIN_2023, YADAV_2023, YU_2024
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("merging", "label", "merge", "task", "type", "relative", "scale")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    merges = first_seen(table["merge"])
    grid = Grid(theme, wrap=2, height=max(260, 44 * len(merges)), share_y=True)
    for panel, part in grid.by(table, "label"):
        for kind, own in split(part, "type"):
            hover = "%{customdata[0]}: %{x:.0%} kept by %{y}"
            panel.points(
                own.relative, own["merge"], kind, symbol=grid.symbol(kind), size=9, hover=hover, data=[own.task]
            )
        means = part.groupby("merge", sort=False).relative.mean()
        panel.points(
            means, list(means.index), "mean over tasks", colour=theme.ink, symbol="line-ns", size=14,
            hover="%{y}: %{x:.0%} kept, mean over tasks",
        )  # fmt: skip
        panel.rule(x=0, dash="solid").rule(x=1, dash="dash")
    return grid.x("kept [of a task's own gain over chance]", percent=True).y("merge [name]", categories=merges[::-1])


def _answer(table: pd.DataFrame) -> Answer:
    groups = table.groupby(["label", "merge"], sort=False)
    found = groups.agg(
        kept=("relative", "mean"), least=("relative", "min"), tasks=("relative", "count"), scale=("scale", "first")
    ).reset_index()
    if found.kept.isna().all():
        return Answer("No task was learned by its own change: there is no gain to keep.", found)
    order = found.dropna(subset=["kept"]).sort_values("kept", ascending=False, kind="stable")
    several = found.label.nunique() > 1
    told = [
        f"{row['merge']} {row['kept']:.0%}" + (f" ({row['label']})" if several else "")
        for row in order.to_dict("records")
    ]
    return Answer(listed("Kept of the tasks' own gain over chance, mean over tasks", told), found)


def _example() -> pd.DataFrame:
    """Made-up: three merges of four tasks, the best by least squares."""
    rows = [
        ("LoRA r = 8", merge, f"task {t}", ("topic", "sentiment")[t % 2], kept + 0.1 * t, 1.0)
        for merge, kept in (("mean", 0.2), ("TIES", 0.25), ("least squares", 0.5))
        for t in range(4)
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


MERGING = Figure(
    name="merging",
    title="What is left of each task after merging",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=18,
    averages=("seed", "task"),
    apart=("task",),
    caption=(
        "The changes of all tasks merged into one, scored on every task's test data under the head that came with the "
        "task's own change: (score − chance)/(score of its own change − chance). One mark per task, coloured by type; "
        "bar: mean over the tasks that were learned (verdicts take shares of the summed gain of all). "
        "λ of each merge is chosen by the mean validation loss over tasks."
    ),
    reading=(
        "At 1 a task is as good as under its own change, at 0 as good as a constant answer. The row of the untouched "
        "PLM has the same heads on θ₀: what a merge keeps beyond it is its own doing. Merges that differ by less than "
        "the spread over tasks do not differ."
    ),
    source=(ILHARCO_2023, YADAV_2023, YU_2024, JIN_2023),
    example=_example,
)
