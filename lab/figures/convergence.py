"""Score of each method against steps and against seconds, and when it reaches 95 % of where it ends."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.figure import TEXT, Column, Figure
from lab.figures.sources import DING_2022
from lab.figures.style import Theme, counted, fade, log_ticks, plain, score_title
from lab.statistics.convergence import reaching

_COLUMNS = {
    "label": Column("method, as the legend shall say it", TEXT),
    "kind": Column("full, delta, or null (nothing but the head is trained)", TEXT),
    "task": Column("task", TEXT),
    "seed": Column("seed of the run", "count"),
    "step": Column("optimiser steps taken", "count"),
    "seconds": Column("training time until then, evaluations excluded", "s"),
    "score": Column("validation score", "unit of the metric"),
}
_OPTIONAL = {
    "metric": Column("name of the metric that score is in", TEXT),
    "tunable": Column("trained parameters d", "count"),
}
_DASHES = {"full": "solid", "delta": "solid", "null": "dash"}


def _means(table: pd.DataFrame) -> pd.DataFrame:
    grouped = table.dropna(subset=["score"]).groupby(["label", "kind", "task", "step"], sort=False)
    found = grouped["score"].agg(mean="mean", low="min", high="max", seeds="count")
    found["seconds"] = grouped["seconds"].mean()
    return found.reset_index().sort_values("step", kind="stable")


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    tasks, labels = list(dict.fromkeys(table.task)), list(dict.fromkeys(table.label))
    figure = make_subplots(
        len(tasks), 2, shared_yaxes=True, horizontal_spacing=0.03, vertical_spacing=0.3 / len(tasks),
        subplot_titles=[plain(task) for task in tasks for _ in range(2)],
    )  # fmt: skip
    figure.update_annotations(font=None)
    means = _means(table)
    for row, task in enumerate(tasks, start=1):
        part = means[means.task == task]
        for i, label in enumerate(labels):
            line = part[part.label == label]
            for column, x in enumerate(("step", "seconds"), start=1):
                _line(figure, line, x, theme, i, {"row": row, "col": column})
        metric = table.metric[table.task == task] if "metric" in table else []
        figure.update_yaxes(title_text=score_title(metric), row=row, col=1)
        figure.update_xaxes(title_text="step [count]", rangemode="tozero", row=row, col=1)
        seconds = part.seconds[part.seconds > 0]
        ticks = log_ticks(float(seconds.min()), float(seconds.max())) if len(seconds) else None
        figure.update_xaxes(title_text="training time [s]", type="log", tickvals=ticks, row=row, col=2)
    kinds = table.drop_duplicates("label").set_index("label")["kind"]
    for i, label in enumerate(labels):
        figure.add_scatter(
            x=[None], y=[None], name=plain(label), legendgroup=plain(label), mode="lines+markers",
            line={"color": theme.colour(i), "dash": _DASHES.get(kinds[label], "solid"), "width": 2},
            marker={"symbol": theme.symbol(i), "size": 6}, row=1, col=1,
        )  # fmt: skip
    figure.update_layout(height=330 * len(tasks))
    return figure


def _line(figure: go.Figure, line: pd.DataFrame, x: str, theme: Theme, i: int, place: dict[str, int]) -> None:
    """One method on one task: the mean over seeds, and the range of the seeds as a faint band."""
    if line.empty:
        return
    colour, name = theme.colour(i), plain(line.label.iloc[0])
    if (line.seeds > 1).any() and x == "step":
        figure.add_scatter(
            x=[*line[x], *line[x][::-1]], y=[*line.high, *line.low[::-1]], fill="toself", mode="lines",
            fillcolor=fade(colour, 0.07), line={"width": 0}, hoverinfo="skip", showlegend=False, legendgroup=name,
            **place,
        )  # fmt: skip
    figure.add_scatter(
        x=line[x], y=line["mean"], name=name, showlegend=False, legendgroup=name, mode="lines+markers",
        line={"color": colour, "dash": _DASHES.get(line.kind.iloc[0], "solid"), "width": 1.8},
        marker={"symbol": theme.symbol(i), "size": 5},
        customdata=np.stack([line.step, line.seconds, line.low, line.high, line.seeds], axis=1),
        hovertemplate="step %{customdata[0]}, %{customdata[1]:.1f} s<br>%{y:.3f} [%{customdata[2]:.3f}, "
        "%{customdata[3]:.3f}], %{customdata[4]:.0f} seeds<extra>" + name + "</extra>", **place,
    )  # fmt: skip


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    found = reaching(table)
    if found.empty:
        return pd.DataFrame(columns=["method", "runs [count]"])
    rows = []
    for label, part in found.groupby("label", sort=False):
        row = {"method": label, "runs [count]": len(part), "last score": part.final.mean()}
        row |= {"steps to 95 % [count]": part.steps.mean(), "fewest": part.steps.min(), "most": part.steps.max()}
        rows.append(row | {"time to 95 % [s]": part.time.mean()})
    return pd.DataFrame(rows).sort_values("steps to 95 % [count]", kind="stable", ignore_index=True)


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    parts = [
        f"{row['method']} {row['steps to 95 % [count]']:.0f} steps ({row['time to 95 % [s]']:.1f} s)"
        for row in found.head(6).to_dict("records")
    ]
    more = f"; and {len(found) - 6} more" if len(found) > 6 else ""
    tasks = counted(table.task.nunique(), "task")
    return f"Mean steps to 95 % of a run's own last validation score over {tasks}: {'; '.join(parts)}{more}."


def _example() -> pd.DataFrame:
    """Made-up exponential approaches of four methods on two tasks, three seeds each."""
    rows = []
    methods = (
        ("full fine-tuning", "full", 0.08, 0.93, 0.4), ("LoRA", "delta", 0.05, 0.91, 0.2),
        ("prefix", "delta", 0.02, 0.85, 0.2), ("linear probe", "null", 0.04, 0.70, 0.1),
    )  # fmt: skip
    for t, task in enumerate(("topic", "sentiment")):
        for label, kind, rate, best, cost in methods:
            for seed in range(3):
                for step in range(10, 61, 10):
                    score = 0.2 + (best - 0.1 * t - 0.2) * (1 - np.exp(-rate * step)) + 0.01 * np.cos(4 * seed + step)
                    rows.append(
                        {"label": label, "kind": kind, "task": task, "seed": seed, "step": step,
                         "seconds": cost * step, "score": score, "metric": "accuracy"}
                    )  # fmt: skip
    return pd.DataFrame(rows)


CONVERGENCE = Figure(
    name="convergence",
    title="Convergence of the methods",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    summary=_summary,
    describe=_describe,
    caption=(
        "Validation score of each method against optimiser steps (left; bands: range over seeds) and against seconds "
        "of training, evaluations excluded (right, logarithmic), one row per task. Lines are means over seeds; dashed, "
        "the linear probe."
    ),
    reading=(
        "A line that rises earlier converges faster. On the left a step is a step; on the right methods that touch "
        "few weights move to the left, as their steps are cheaper. The table gives the mean steps and seconds to 95 % "
        "of each run's own last score, linear between evaluations; a run that is there at its first evaluation counts "
        "as that step, so small numbers are upper bounds. A method that ends low reaches 95 % of little early: compare "
        "it with the last score. Seconds are of the machine that the records name, and only comparable within it."
    ),
    source=(DING_2022,),
    example=_example,
)
