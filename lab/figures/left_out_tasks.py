"""What the others explain of each task, with a member, its task, or its type left out."""

from __future__ import annotations

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.each_collection import each_once
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import QIN_2021
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("left_out_tasks", "label", "member", "type", "left_out", "share", "mean_only")
_MEANS = {
    "member": "the member left out",
    "task": "its task left out",
    "type": "its type left out",
    "seed": "other seeds of its task alone",
}


_SEED = r", seed \d+$"
"""The end of a member's name that says which seed of its task it is."""


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    table = each_once(table)
    table = table.assign(row=table.member.astype(str).str.replace(_SEED, "", regex=True))
    rows = list(dict.fromkeys(table.sort_values(["type", "row"], kind="stable").row))
    grid = Grid(theme, wrap=2, height=max(260, 24 * len(rows)), share_y=True)
    for panel, part in grid.by(table, "label"):
        for unit, own in split(part, "left_out"):
            name = _MEANS.get(unit, unit)
            hover, data = "%{customdata[0]} (%{customdata[1]}): %{x:.1%} explained", [own.member, own.type]
            panel.points(own.share, own.row, name, symbol=grid.symbol(name), size=9, hover=hover, data=data)
        first = part.drop_duplicates("member")
        panel.points(
            first.mean_only, first.row, "mean alone", colour=theme.muted, symbol="line-ns", size=10,
            hover="%{customdata[0]}: %{x:.1%} by the mean alone", data=[first.member],
        )  # fmt: skip
        panel.rule(x=0, dash="solid")
    return grid.x("explained [share of ‖ΔW‖²]", percent=True).y("task [name]", categories=rows)


def _answer(table: pd.DataFrame) -> Answer:
    table = each_once(table)
    found = (
        table.groupby(["label", "left_out"], sort=False)[["share", "mean_only"]]
        .agg(["mean", "min", "max"])
        .reset_index()
    )
    found.columns = [" ".join(part for part in name if part) for name in found.columns]
    several = found.label.nunique() > 1
    told = [
        f"{row['share mean']:.0%} with {_MEANS.get(row['left_out'], row['left_out'])} "
        f"({row['share min']:.0%} to {row['share max']:.0%})" + (f", {row['label']}" if several else "")
        for row in found.to_dict("records")
    ]
    end = f". The mean alone explains {table.mean_only[table.left_out != 'seed'].mean():.0%}."
    return Answer(listed("Explained of a task by the others", told, end=end), found)


def _example() -> pd.DataFrame:
    """Made-up: eight members of three types; leaving the type out costs most."""
    rows = []
    for i in range(8):
        kind = ("sentiment", "topic", "syntax")[i % 3]
        for unit, share in (("member", 0.5), ("task", 0.42), ("type", 0.25), ("seed", 0.6)):
            rows.append(("LoRA r = 8", f"task {i}", kind, unit, share + 0.02 * i, 0.1 + 0.01 * i))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


LEFT_OUT_TASKS = Figure(
    name="left_out_tasks",
    title="What the others explain of each task",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=14,
    averages=("seed", "task"),
    caption=(
        "Share of every member's ‖ΔW‖² that the shared subspace of others explains: with the member left out, with all "
        "seeds of its task left out, with all tasks of its type left out, and by other seeds of its task alone, up to "
        "their size (the upper reference). Members that differ in their seed share a row. Tick: what the mean of the "
        "others explains alone."
    ),
    reading=(
        "The distance from the member's mark to the task's says what another seed of the same task brought; from there "
        "to the type's, what tasks of one kind share beyond what all share. A task near its upper reference has "
        "nothing of its own left. Where the tick is as far right as the marks, the mean does "
        "all, and no subspace is needed."
    ),
    source=(QIN_2021,),
    example=_example,
)
