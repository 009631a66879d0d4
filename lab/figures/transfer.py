"""Zero-shot transfer between tasks: one matrix per method, relative to training on the target itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import DING_2022
from lab.figures.style import Theme
from lab.statistics import Answer
from lab.statistics.transfer import with_ratio

_COLUMNS = columns("transfer", "label", "source", "target", "source_type", "target_type", "score", "own", "relative")


WIDE = 6
"""Tasks of which three matrices side by side leave room for numbers."""

UNLEARNED = "not learned where it is evaluated"


def _tasks(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Tasks in the order of their types, and the type of each."""
    ends = [table[[end, f"{end}_type"]].set_axis(["task", "type"], axis=1) for end in ("source", "target")]
    both = pd.concat(ends).drop_duplicates("task")
    types = list(dict.fromkeys(both.type))
    both = both.sort_values("type", key=lambda column: column.map(types.index), kind="stable")
    return list(both.task), list(both.type)


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """One panel per method: colour and number (in per cent) are relative transfer; the cursor says the scores."""
    tasks, types = _tasks(table)
    grid = Grid(theme, wrap=3 if len(tasks) <= WIDE else 2, height=60 + 70 * len(tasks), share_x=True, share_y=True)
    hover = (
        "trained on %{y}, evaluated on %{x}<br>score %{customdata[0]:.3f}, trained there %{customdata[1]:.3f}<br>"
        "relative %{z:.2f}, score/own %{customdata[2]:.2f}"
    )
    for panel, part in grid.by(table, "label"):
        means = with_ratio(part).groupby(["source", "target"])[["relative", "score", "own", "ratio"]].mean()
        cells = [means[name].unstack().reindex(tasks, columns=tasks) for name in means]
        cells = [frame.set_axis(range(len(tasks))).set_axis(range(len(tasks)), axis=1) for frame in cells]
        words = [["" if value != value else f"{100 * value:.0f}" for value in row] for row in cells[0].to_numpy()]
        panel.heat(cells[0], "relative transfer [1]", low=0, high=1, text=words, data=cells[1:], hover=hover, gap=1)
        rows, columns = np.nonzero(cells[1].notna().to_numpy() & cells[0].isna().to_numpy())
        if len(rows):
            scores = [frame.to_numpy()[rows, columns] for frame in cells[1:3]]
            dot: dict[str, Any] = {"colour": theme.muted, "symbol": "circle", "size": 4, "listed": False}
            said = "score %{customdata[0]:.3f}, trained there %{customdata[1]:.3f}: next to nothing was learned there"
            panel.points(columns, rows, UNLEARNED, key=UNLEARNED, data=scores, hover=said, **dot)
        for k in range(1, len(tasks)):
            if types[k] != types[k - 1]:
                gap: dict[str, Any] = {"colour": theme.background, "dash": "solid", "width": 4, "above": True}
                panel.rule(x=k - 0.5, **gap).rule(y=k - 0.5, **gap)
    ticks = dict(enumerate(tasks))
    bare = {"showgrid": False}
    grid.x("evaluated on [task]", ticks=ticks, options=bare | {"tickangle": -90})
    return grid.y("trained on [task]", ticks=ticks, reverse=True, options=bare)


def _means(part: pd.DataFrame, column: str = "relative") -> tuple[float, float]:
    """Mean relative transfer (or another column) to other tasks of the same type, and of other types."""
    off = part[part.source != part.target]
    inside = off.source_type == off.target_type
    return float(off[column][inside].mean()), float(off[column][~inside].mean())


def _answer(table: pd.DataFrame) -> Answer:
    rows, told = [], []
    for label, part in split(table, "label"):
        inside, across = _means(part)
        row: dict[str, Any] = {"method": label, "inside types [1]": inside, "across types [1]": across}
        ratios = _means(with_ratio(part), "ratio")
        row |= dict(zip(("score/own inside [1]", "score/own across [1]"), ratios, strict=True))
        rows.append(row | {"own score": part.score[part.source == part.target].mean()})
        words = ["unknown" if value != value else f"{value:.2f}" for value in (inside, across)]
        told.append(f"{label}: {words[0]} inside types and {words[1]} across")
    lead = "Mean transfer to other tasks, 1 being training on the target and 0 chance"
    return Answer(listed(lead, told), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made-up transfer of two methods and the probe between two types of tasks."""
    types = {"reviews": "sentiment", "films": "sentiment", "order": "form", "topics": "pairs"}
    rows = []
    for label, level in (("LoRA", 0.9), ("prompt", 0.7), ("linear probe", 0.4)):
        for i, (source, source_type) in enumerate(types.items()):
            for j, (target, target_type) in enumerate(types.items()):
                relative = 1.0 if i == j else level - 0.1 * abs(i - j) if source_type == target_type else 0.1 * (i - j)
                own = 0.8 - 0.05 * j
                rows.append(
                    {"label": label, "source": source, "target": target, "source_type": source_type}
                    | {"target_type": target_type, "own": own, "score": 0.5 + relative * (own - 0.5)}
                    | {"relative": relative}
                )
    return pd.DataFrame(rows)


TRANSFER = Figure(
    name="transfer",
    title="Transfer between tasks",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="methods",
    order=6,
    averages=("seed",),
    caption=(
        "Zero-shot transfer of each method: a delta trained on the task of the row, evaluated on the task of the "
        "column without further training, relative to the same method trained there (1) and to chance (0); numbers "
        "are per cent of that. Gaps separate types of tasks."
    ),
    reading=(
        "The diagonal is 1 by definition. A bright block on the diagonal says that tasks of one type can use each "
        "other's deltas. Numbers below 0 are worse than always answering the more frequent class: across types the two "
        "classes need not correspond, so a delta may know the difference and give it the wrong sign. Cells hold a dot "
        "where the method learned next to nothing on the target, so that a share of it means nothing. Compare with the "
        "linear probe: what it transfers, the frozen features share already."
    ),
    source=(DING_2022,),
    example=_example,
)
