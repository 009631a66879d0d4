"""The loss that solvers reach, against passes over the data, seconds, and costate evaluations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.costates import log_axis
from lab.figures.definition import TEXT, Column, Figure
from lab.figures.sources import LI_2017, LI_HAO_2018
from lab.figures.style import Theme, plain

_COLUMNS = {
    "label": Column("the solver and its step size", TEXT),
    "model": Column("the PLM", TEXT),
    "task": Column("the task the batch is from", TEXT),
    "seed": Column("seed of start and batch", "count"),
    "iteration": Column("number of the point, 0 is the start", "count"),
    "loss": Column("J at the point: mean loss of the batch", "nats"),
    "passes": Column("passes over the batch until then: every stage run once, forward and back", "count"),
    "elapsed": Column("seconds until then", "s"),
    "costates": Column("costate evaluations until then: full backward sweeps, those of products included", "count"),
}
_AXES = {
    "passes": "passes over the batch [count]",
    "elapsed": "time [s]",
    "costates": "costate evaluations [count]",
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    figure = make_subplots(1, 3, shared_yaxes=True, horizontal_spacing=0.03)
    labels = list(dict.fromkeys(table.label))
    for column, (spent, title) in enumerate(_AXES.items(), start=1):
        for i, label in enumerate(labels):
            for shown, (_, run) in enumerate(
                table[table.label == label].groupby(["model", "task", "seed"], sort=False)
            ):
                run = run.sort_values("iteration")
                figure.add_scatter(
                    x=run[spent], y=run.loss.where(run.loss > 0), name=plain(label), legendgroup=plain(label),
                    showlegend=column == 1 and shown == 0, mode="lines+markers", row=1, col=column,
                    line={"color": theme.colour(i), "width": 2}, marker={"symbol": theme.symbol(i), "size": 5},
                    hovertemplate=f"%{{x:.4g}}: %{{y:.4g}} nats<extra>{plain(label)}</extra>",
                )  # fmt: skip
        figure.update_xaxes(title_text=title, rangemode="tozero", row=1, col=column)
    start = table.loss[table.iteration == table.iteration.min()].max()
    figure.update_yaxes(type="log", **log_axis(table.loss[table.loss <= 5 * start]))  # a diverging run leaves the axes
    figure.update_yaxes(title_text="loss J [nats]", row=1, col=1)
    figure.update_layout(height=420)
    return figure


def _at(run: pd.DataFrame, spent: str, budget: float) -> float:
    """The lowest loss a run has reached within a budget."""
    return float(run.loss[run[spent] <= budget].min())


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per solver, means over runs: the end, and the lowest loss within what the cheapest solver spent in all."""
    runs = list(table.groupby(["label", "model", "task", "seed"], sort=False))
    least = {spent: min(float(run[spent].max()) for _, run in runs) for spent in _AXES}
    rows = []
    for (label, *_), run in runs:
        row = {"label": label, "runs": 1, "start [nats]": float(run.loss[run.iteration == run.iteration.min()].mean())}
        row |= {"end [nats]": float(run.sort_values("iteration").loss.iloc[-1]), "lowest [nats]": float(run.loss.min())}
        row |= {f"at {least[spent]:.3g} {_SHORT[spent]} [nats]": _at(run, spent, least[spent]) for spent in _AXES}
        rows.append(row)
    frame = pd.DataFrame(rows)
    means = frame.drop(columns="runs").groupby("label", sort=False).mean()
    return means.assign(runs=frame.groupby("label", sort=False).runs.sum()).reset_index()


_SHORT = {"passes": "passes", "elapsed": "s", "costates": "costate evaluations"}


def _describe(table: pd.DataFrame) -> str:
    found = _summary(table)
    sentences = []
    for column in found.columns[4:-1]:
        best = found.sort_values(column).iloc[0]
        spent = column.removeprefix("at ").removesuffix(" [nats]")
        sentences.append(f"Within {spent} the lowest loss is {best[column]:.4g} nats, by {best['label']}.")
    return f"{len(found)} solvers from the same start. " + " ".join(sentences)


def _example() -> pd.DataFrame:
    """Made-up runs: a gradient method, and one with dear but strong iterations."""
    rows = []
    for label, passes, seconds, rate in (("AdamW, step 0.003", 1, 0.3, 0.1), ("E-MSA, ρ = 1", 12, 6.0, 0.6)):
        for k in range(12):
            loss = 1.6 * float(np.exp(-rate * k)) + 0.01
            rows.append((label, "minilm", "bbc-news", 0, k, loss, 1 + k * passes, k * seconds, 1 + k))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


SOLVER_CONVERGENCE = Figure(
    name="solver_convergence",
    title="Convergence of the solvers",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=5,
    summary=_summary,
    describe=_describe,
    caption=(
        "Loss of one fixed batch under solvers of the control problem, all from the same start, against what they have "
        "spent: passes over the batch, seconds, costate evaluations. One line per solver and run."
    ),
    reading=(
        "Lower and further left is better, and the three panels need not agree: a solver that maximises Hamiltonians "
        "layer by layer needs few costate evaluations and many passes. A line that leaves at the top diverges. Compare "
        "lines at the same abscissa, not at their ends. It is the loss of the batch that is minimised, so nothing here "
        "speaks of generalisation."
    ),
    source=(LI_2017, LI_HAO_2018),
    example=_example,
)
