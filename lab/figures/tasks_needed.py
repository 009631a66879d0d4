"""How many tasks until a new one is covered: explained share against the number of tasks that make the subspace."""

from __future__ import annotations

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.each_collection import each_once
from lab.figures.grammar import Grid, first_seen, listed, split
from lab.figures.shared_directions import DRAWN
from lab.figures.sources import QIN_2021
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("tasks_needed", "label", "of", "n", "share", "low", "high", "mean_only")
TASKS = "the tasks"


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """A panel for each null of one collection, beside its tasks, as bands would cover one another; of several, one for
    each."""
    table = each_once(table)
    alone = table.label.nunique() == 1 and table.of.nunique() > 2
    grid = Grid(theme, wrap=2, height=270 if alone else 360, share_x=alone, share_y=True)
    nulls = [name for name in first_seen(table.of) if name != TASKS]
    parts = [(name, table[table.of.isin([TASKS, name])]) for name in nulls] if alone else split(table, "label")
    for title, part in parts:
        panel = grid.panel(title)
        for of, own in split(part, "of"):
            own, name = own.sort_values("n"), DRAWN if alone and of != TASKS else of
            colour, symbol = grid.colour(name), grid.symbol(name)
            panel.band(own.n, own.low, own.high, name, colour=colour)
            panel.line(
                own.n, own.share, name, colour=colour, symbol=symbol, hover="%{x} tasks: %{y:.1%}", key="subspace"
            )
            panel.line(
                own.n, own.mean_only, name, colour=colour, symbol=symbol, size=4, dash="dot",
                hover="%{x} tasks: %{y:.1%}", key="mean alone",
            )  # fmt: skip
        panel.rule(y=0, dash="solid")
    grid.x("tasks that make the subspace [count]", whole=True)
    return grid.y("explained of an unseen task [share of ‖ΔW‖²]", percent=True)


def _answer(table: pd.DataFrame) -> Answer:
    rows = []
    for name, own in split(each_once(table), "label", "of"):
        last = own.sort_values("n").iloc[-1]
        rows.append(
            {"collection": name, "tasks [count]": int(last.n), "explained [share of ‖ΔW‖²]": last["share"],
             "low": last.low, "high": last.high, "mean alone [share of ‖ΔW‖²]": last.mean_only}
        )  # fmt: skip
    found = pd.DataFrame(rows)
    told = [
        f"{row['collection']} {row['explained [share of ‖ΔW‖²]']:.0%} [{row['low']:.0%}, {row['high']:.0%}] with "
        f"{row['tasks [count]']} tasks"
        for row in found.to_dict("records")
    ]
    return Answer(listed("Explained of an unseen task", told), found)


def _example() -> pd.DataFrame:
    """Made-up: the curve of the tasks rises and flattens, that of the null does not."""
    rows = []
    for n in range(2, 12):
        for of, top in (("the tasks", 0.6), ("same spectra", 0.0)):
            share = top * (1 - 0.75**n) - 0.3 / n
            rows.append(("LoRA r = 8", of, n, share, share - 0.2 / n, share + 0.2 / n, share - 0.1 * (top > 0)))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


TASKS_NEEDED = Figure(
    name="tasks_needed",
    title="How many tasks cover a new one",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="weights",
    order=17,
    averages=("seed", "task"),
    caption=(
        "Share of an unseen task's ‖ΔW‖² that the subspace of n other tasks explains, against n: mean and 95 % band "
        "over random subsets of n tasks. Dotted: what the mean of the n tasks explains alone."
    ),
    reading=(
        "A curve that goes on rising says that no small number of tasks spans what the next one needs; one that has "
        "flattened below 1 says that a part of every task is its own, whatever the number. The null rises too, as more "
        "members span more; only the distance between the curves is due to the tasks."
    ),
    source=(QIN_2021,),
    example=_example,
)
