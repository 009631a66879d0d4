"""Score of each method against steps and against seconds, and when it reaches 95 % of where it ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, around, listed, split, spread
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, counted, score_title
from lab.statistics import Answer
from lab.statistics.convergence import reaching

_COLUMNS = columns("convergence", "label", "kind", "task", "seed", "step", "seconds", "score")
_OPTIONAL = columns("convergence", "metric", "tunable")
_EACH = 3
"""Tasks that have a row of panels each; of more, one row holds all."""
_DASHES = {"full": "solid", "delta": "solid", "null": "dash"}


def _means(table: pd.DataFrame) -> pd.DataFrame:
    grouped = table.dropna(subset=["score"]).groupby(["label", "kind", "task", "step"], sort=False)
    found = grouped["score"].agg(mean="mean", low="min", high="max", seeds="count")
    found["seconds"] = grouped["seconds"].mean()
    return found.reset_index().sort_values("step", kind="stable")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    if table.task.nunique() > _EACH:
        return _together(table, theme)
    grid = Grid(theme, wrap=2, height=330, labels=table.label)
    means = _means(table)
    hover = "step %{customdata[0]}, %{customdata[1]:.1f} s<br>%{y:.3f} [%{customdata[2]:.3f}, %{customdata[3]:.3f}], "
    for task, part in split(table, "task"):
        title = score_title(part.metric if "metric" in part else [])
        steps, times = (grid.panel(task).y(title) for _ in range(2))
        steps.x("step [count]", zero=True)
        times.x("training time [s]", log=True)
        for label, line in split(means[means.task == part.task.iloc[0]], "label"):
            look = grid.look(label)
            style: dict[str, Any] = {
                "colour": look.colour,
                "symbol": look.symbol,
                "dash": _DASHES.get(line.kind.iloc[0], "solid"),
            }
            style |= {"data": [line.step, line.seconds, line.low, line.high, line.seeds], "size": 5}
            if (line.seeds > 1).any():
                steps.band(line.step, line.low, line.high, label, colour=look.colour, alpha=0.07)
            for panel, x in ((steps, line.step), (times, line.seconds)):
                panel.line(x, line["mean"], label, hover=hover + "%{customdata[4]:.0f} seeds", **style)
    return grid


def _together(table: pd.DataFrame, theme: Theme) -> Grid:
    """Many tasks: how soon each method has converged, a point per task; where each ends, on the right."""
    found = reaching(table)
    order = found.groupby("label").steps.mean().sort_values(kind="stable").index
    grid = Grid(theme, wrap=3, height=60 + 26 * len(order), share_y=True, labels=table.label)
    for name, title in (("steps", "steps to 95 % [count]"), ("time", "time to 95 % [s]"), ("final", _score(table))):
        panel = grid.panel().x(title, range=around(found[name]))
        for label in order:
            own = found[found.label == label].groupby("task", sort=False)[name].mean().dropna()
            colour = grid.look(label).colour
            if len(own):
                spread(panel, own.tolist(), label, colour=colour, of=list(own.index), unit="task")
    return grid.y(categories=list(order))


def _score(table: pd.DataFrame) -> str:
    return "last " + score_title(table.metric if "metric" in table else [])


def _answer(table: pd.DataFrame) -> Answer:
    found = reaching(table)
    if found.empty:
        return Answer("No run has a score.", pd.DataFrame(columns=["method", "runs [count]"]))
    rows = []
    for label, part in split(found, "label"):
        row: dict[str, Any] = {"method": label, "runs [count]": len(part), "last score": part.final.mean()}
        row |= {"steps to 95 % [count]": part.steps.mean(), "fewest": part.steps.min(), "most": part.steps.max()}
        rows.append(row | {"time to 95 % [s]": part.time.mean()})
    summary = pd.DataFrame(rows).sort_values("steps to 95 % [count]", kind="stable", ignore_index=True)
    told = [
        f"{row['method']}: {row['steps to 95 % [count]']:.0f} ({row['time to 95 % [s]']:.1f} s) "
        f"to {row['last score']:.2f}"
        for row in summary.to_dict("records")
    ]
    tasks = counted(table.task.nunique(), "task")
    return Answer(listed(f"Mean steps to 95 % of the last score, and that score, over {tasks}", told), summary)


def _example() -> pd.DataFrame:
    """Made-up exponential approaches of four methods on two tasks, three seeds each."""
    rows = []
    methods = (
        ("full fine-tuning", "full", 0.08, 0.93, 0.4),
        ("LoRA", "delta", 0.05, 0.91, 0.2),
        ("prefix", "delta", 0.02, 0.85, 0.2),
        ("linear probe", "null", 0.04, 0.70, 0.1),
    )
    for t, task in enumerate(("topic", "sentiment")):
        for label, kind, rate, best, cost in methods:
            for seed in range(3):
                for step in range(10, 61, 10):
                    score = 0.2 + (best - 0.1 * t - 0.2) * (1 - np.exp(-rate * step)) + 0.01 * np.cos(4 * seed + step)
                    rows.append(
                        {"label": label, "kind": kind, "task": task, "seed": seed, "step": step}
                        | {"seconds": cost * step, "score": score, "metric": "accuracy"}
                    )
    return pd.DataFrame(rows)


CONVERGENCE = Figure(
    name="convergence",
    title="Convergence of the methods",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    conclude=_answer,
    group="methods",
    order=2,
    averages=("seed", "task"),
    caption=(
        "Validation score of each method against optimiser steps (left; bands: range over seeds) and against seconds "
        "of training, evaluations excluded (right, logarithmic), one row per task. Lines are means over seeds; dashed, "
        "the linear probe. Of more than three tasks: the steps and seconds to 95 % of each run's last score, and that "
        "score, a point per task, mean and 95 % interval over tasks."
    ),
    reading=(
        "A line that rises earlier converges faster. On the left a step is a step; on the right methods that touch "
        "few weights move to the left, as their steps are cheaper. The table gives the mean steps and seconds to 95 % "
        "of each run's own last score, linear between evaluations; a run that is there at its first evaluation counts "
        "as that step, so small numbers are upper bounds. A method that ends low reaches 95 % of little early: compare "
        "it with the last score. Seconds are those of the machine that the records name, and comparable only on it."
    ),
    source=(DING_2022,),
    example=_example,
)
