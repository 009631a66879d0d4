"""Delta methods on PLMs of growing size: the last score, and the steps to a level that all sizes reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, around, first_seen, listed, split
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, count, counted, score_title
from lab.statistics import Answer, mean_interval
from lab.statistics.scale import finals, series_of, steps_to_level

_COLUMNS = columns("scale", "label", "plm", "parameters", "seed", "step", "score")
_OPTIONAL = columns("scale", "metric")


def _sizes(table: pd.DataFrame) -> list[str]:
    """The PLMs in growing size."""
    return list(table.groupby("plm", sort=False).parameters.max().sort_values(kind="stable").index)


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    sizes, labels = _sizes(table), first_seen(table.label)
    grid = Grid(theme, wrap=1, height=340, labels=labels)
    top, foot = grid.panel(), grid.panel()
    last, steps = finals(table), steps_to_level(table)
    for panel, values, name in ((top, last, "score"), (foot, steps, "steps")):
        for i, (label, part) in enumerate(split(values, "label")):
            _line(panel, part.rename(columns={name: "value"}), sizes, label, 0.3 * ((i + 0.5) / len(labels) - 0.5))
    parameters = table.groupby("plm").parameters.max()
    ticks = {i: f"{plm}\n{count(float(parameters[plm]))}" for i, plm in enumerate(sizes)}
    grid.x("PLM and its parameters [count]", ticks=ticks, range=(-0.4, len(sizes) - 0.6))
    top.y(score_title(table.metric if "metric" in table else ()), range=around(last.score.astype(float)))
    foot.y("steps to a level that all reach [count]", range=(0, 1.1 * float(steps.steps.max())))
    return grid


def _line(panel: Panel, part: pd.DataFrame, sizes: list[str], label: str, aside: float) -> None:
    """Means of one method over the sizes with their intervals, a little aside of others; ends where a series does."""
    rows: list[tuple[object, ...]] = []
    series = list(series_of(pd.Series(sizes)))
    for place, plm in enumerate(sizes):
        if place and series[place] != series[place - 1]:
            rows.append((None,) * 6)
        values = part.value[part.plm == plm].dropna().astype(float)
        if len(values):
            found = mean_interval(list(values))
            ends = (found.high - found.estimate, found.estimate - found.low) if np.isfinite(found.low) else (None, None)
            rows.append((place + aside, found.estimate, *ends, found.n, plm))
    line = pd.DataFrame(rows, columns=["x", "y", "up", "down", "n", "plm"], dtype=object)
    look = panel.grid.look(label)
    marked: dict[str, Any] = {
        "colour": look.colour,
        "symbol": look.symbol,
        "size": 8,
        "width": 2,
        "data": [line.n, line.plm],
    }
    hover = "%{customdata[1]}: %{y:.4g}, %{customdata[0]} seeds"
    panel.line(line.x, line.y, label, error=line.up, error_down=line.down, hover=hover, **marked)


def _answer(table: pd.DataFrame) -> Answer:
    last, steps = finals(table), steps_to_level(table)
    rows, told = [], []
    for label in first_seen(table.label):
        row: dict[str, object] = {"label": label}
        for plm in _sizes(table):
            row[f"score, {plm}"] = float(last[(last.label == label) & (last.plm == plm)].score.mean())
        for plm in _sizes(table):
            row[f"steps, {plm} [count]"] = float(steps[(steps.label == label) & (steps.plm == plm)].steps.mean())
        rows.append(row)
    n = counted(int(table.groupby(["label", "plm"]).seed.nunique().max()), "seed")
    if table.plm.nunique() == 1:
        plm = str(table.plm.iloc[0])
        told = [f"{row['label']} {_interval(last[last.label == row['label']].score)}" for row in rows]
        lead = f"One PLM says nothing of size. Last score on {plm}, mean over {n}"
        return Answer(listed(lead, told), pd.DataFrame(rows))
    for _, part in table.groupby(series_of(table.plm), sort=False):
        sizes = _sizes(part)
        for row in rows:
            first, final = row[f"score, {sizes[0]}"], row[f"score, {sizes[-1]}"]
            told.append(f"{row['label']}: {first:.3f} ({sizes[0]}) to {final:.3f} ({sizes[-1]})")
    return Answer(listed(f"Last score from the smallest to the largest PLM, mean over {n}", told), pd.DataFrame(rows))


def _interval(scores: pd.Series) -> str:
    """Mean and Student interval in words; the mean alone of one seed."""
    found = mean_interval(list(scores.astype(float)))
    told = f" [{found.low:.3f}, {found.high:.3f}]" if np.isfinite(found.low) else ""
    return f"{found.estimate:.3f}{told}"


def _example() -> pd.DataFrame:
    """Made-up scores: all grow with size, the last layer least."""
    sizes = {"small": 14e6, "middle": 18e6, "large": 23e6}
    methods = {"adapter": 0.80, "LoRA": 0.79, "prefix": 0.76, "prompt": 0.73, "last layer": 0.72}
    methods |= {"random modules": 0.78}
    return pd.DataFrame(
        [
            {"label": label, "plm": plm, "parameters": size, "seed": seed, "step": step}
            | {
                "score": 0.5
                + (best - 0.58 + 0.04 * k) * (1 - np.exp(-step * (k + 1) / 12))
                + 0.01 * np.cos(5 * seed + i)
            }
            for i, (label, best) in enumerate(methods.items())
            for k, (plm, size) in enumerate(sizes.items())
            for seed in range(3)
            for step in range(6, 31, 6)
        ]
    )


SCALE = Figure(
    name="scale",
    title="Growing PLMs",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="methods",
    order=9,
    averages=("seed",),
    caption=(
        "Validation score after the last step (top) and steps until the score first reaches 95 % of the lowest last "
        "score that the method has on any PLM of the series (bottom), against the size of the PLM. Means over seeds "
        "with 95 % Student intervals, which may leave the panel; random modules have the last layer's budget."
    ),
    reading=(
        "Lines that rise at the top: the method gains with size; lines that fall at the bottom: it is sooner at the "
        "same level. On a PLM of one block the last layer and random modules are the same parameters. Of one PLM cut "
        "after k blocks, size is depth: the later blocks are missing, not their pre-training."
    ),
    source=(DING_2022,),
    example=_example,
    optional=_OPTIONAL,
)
