"""Delta methods on PLMs of growing size: the last score, and the steps to a level that all sizes reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.grammar import around
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, count, counted, plain, score_title
from lab.statistics import mean_interval
from lab.statistics.scale import finals, series_of, steps_to_level

_COLUMNS = {
    "label": Column("method", TEXT),
    "plm": Column("PLM; its first k blocks are written name:k", TEXT),
    "parameters": Column("parameters of the PLM, head included", "count"),
    "seed": Column("seed of the run", "count"),
    "step": Column("steps taken until this evaluation", "count"),
    "score": Column("validation score", "unit of the metric"),
}
_OPTIONAL = {"metric": Column("name of the metric that score is in", TEXT)}


def _sizes(table: pd.DataFrame) -> list[str]:
    """The PLMs in growing size."""
    return list(table.groupby("plm", sort=False).parameters.max().sort_values(kind="stable").index)


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    sizes, labels = _sizes(table), list(dict.fromkeys(table.label))
    parameters = table.groupby("plm").parameters.max()
    figure = make_subplots(2, 1, vertical_spacing=0.2)
    quantities = {"score": finals(table), "steps": steps_to_level(table)}
    for row, (name, values) in enumerate(quantities.items(), start=1):
        for i, label in enumerate(labels):
            _line(figure, values[values.label == label], name, sizes, theme, i, len(labels), row)
        ticks = [f"{plain(plm)}<br>{count(float(parameters[plm]))}" for plm in sizes]
        figure.update_xaxes(
            tickvals=list(range(len(sizes))), ticktext=ticks, range=[-0.4, len(sizes) - 0.6], tickangle=0,
            title_text="PLM and its parameters [count]", row=row, col=1,
        )  # fmt: skip
    scores, most = quantities["score"].score.astype(float), float(quantities["steps"].steps.max())
    metric = score_title(table.metric if "metric" in table else ())
    figure.update_yaxes(title_text=metric, range=around(scores), row=1, col=1)
    figure.update_yaxes(title_text="steps to a level that all reach [count]", range=[0, 1.1 * most], row=2, col=1)
    figure.update_layout(height=680)
    return figure


def _line(
    figure: go.Figure,
    part: pd.DataFrame,
    name: str,
    sizes: list[str],
    theme: Theme,
    i: int,
    n: int,
    row: int,
) -> None:
    """Means of one method over the sizes with their intervals, a little sideways of those of the others.

    The line ends where a series does.
    """
    rows: list[dict[str, Any]] = []
    series = list(series_of(pd.Series(sizes)))
    for place, plm in enumerate(sizes):
        if place and series[place] != series[place - 1]:
            rows.append({"x": None, "y": None})
        values = part[part.plm == plm][name].dropna().astype(float)
        if len(values):
            found = mean_interval(list(values))
            bounded = np.isfinite(found.low)
            up, down = (found.high - found.estimate, found.estimate - found.low) if bounded else (None, None)
            x = place + 0.3 * ((i + 0.5) / n - 0.5)
            rows.append({"x": x, "y": found.estimate, "up": up, "down": down, "n": found.n, "plm": plain(plm)})
    line = pd.DataFrame(rows, columns=["x", "y", "up", "down", "n", "plm"])
    label = plain(part.label.iloc[0]) if len(part) else ""
    figure.add_scatter(
        x=line.x, y=line.y, name=label, legendgroup=label, showlegend=row == 1, mode="lines+markers",
        line={"color": theme.colour(i), "width": 2}, marker={"symbol": theme.symbol(8 * i), "size": 8},
        error_y={"symmetric": False, "array": list(line.up), "arrayminus": list(line.down), "thickness": 1.2,
                 "width": 4, "color": theme.colour(i)},
        customdata=np.stack([line.n, line.plm], axis=1),
        hovertemplate="%{customdata[1]}: %{y:.4g}, %{customdata[0]} seeds<extra>" + label + "</extra>",
        row=row, col=1,
    )  # fmt: skip


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    last, steps = finals(table), steps_to_level(table)
    sizes = _sizes(table)
    rows: list[dict[str, Any]] = []
    for label in dict.fromkeys(table.label):
        row: dict[str, object] = {"label": label}
        for plm in sizes:
            row[f"score, {plm}"] = float(last[(last.label == label) & (last.plm == plm)].score.mean())
        for plm in sizes:
            row[f"steps, {plm} [count]"] = float(steps[(steps.label == label) & (steps.plm == plm)].steps.mean())
        rows.append(row)
    return pd.DataFrame(rows)


def _describe(table: pd.DataFrame) -> str:
    n = counted(int(table.groupby(["label", "plm"]).seed.nunique().max()), "seed")
    told = [_described_series(part) for _, part in table.groupby(series_of(table.plm), sort=False)]
    return f"Last score, mean over {n}. {' '.join(told)}"


def _described_series(table: pd.DataFrame) -> str:
    sizes = _sizes(table)
    told = [
        f"{row['label']} {row[f'score, {sizes[0]}']:.3f} to {row[f'score, {sizes[-1]}']:.3f}"
        for row in _summary(table).to_dict("records")
    ]
    return f"From {sizes[0]} to {sizes[-1]}: {'; '.join(told)}."


def _example() -> pd.DataFrame:
    """Made-up scores: all grow with size, the last layer least."""
    sizes = {"small": 14e6, "middle": 18e6, "large": 23e6}
    methods = {
        "adapter": 0.80,
        "LoRA": 0.79,
        "prefix": 0.76,
        "prompt": 0.73,
        "last layer": 0.72,
        "random modules": 0.78,
    }
    return pd.DataFrame(
        [
            {"label": label, "plm": plm, "parameters": size, "seed": seed, "step": step,
             "score": 0.5 + (best - 0.58 + 0.04 * k) * (1 - np.exp(-step * (k + 1) / 12)) + 0.01 * np.cos(5 * seed + i)}
            for i, (label, best) in enumerate(methods.items())
            for k, (plm, size) in enumerate(sizes.items())
            for seed in range(3)
            for step in range(6, 31, 6)
        ]
    )  # fmt: skip


SCALE = Figure(
    name="scale",
    title="Growing PLMs",
    columns=_COLUMNS,
    build=_build,
    summary=_summary,
    describe=_describe,
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
