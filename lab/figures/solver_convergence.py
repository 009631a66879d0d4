"""The loss that solvers reach, against passes over the data, seconds, and costate evaluations."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import LI_2017, LI_HAO_2018
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns(
    "solver_convergence", "label", "model", "task", "seed", "iteration", "loss", "passes", "elapsed", "costates"
)
_AXES = {
    "passes": "passes over the batch [count]",
    "elapsed": "time [s]",
    "costates": "costate evaluations [count]",
}

_SHORT = {"passes": "passes", "elapsed": "s", "costates": "costate evaluations"}


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """A row of three panels per PLM and task; a line per solver and seed."""
    grid = Grid(theme, wrap=3, height=400, share_y=True)
    for place, own in split(table, "model", "task"):
        for panel, (spent, title) in zip(grid.row(place, 3), _AXES.items(), strict=True):
            panel.x(title, zero=True)
            for label, part in split(own, "label"):
                colour, symbol, hover = grid.colour(label), grid.symbol(label), "%{x:.4g}: %{y:.4g} nats"
                for _, run in part.sort_values("iteration").groupby("seed", sort=False, dropna=False):
                    y = run.loss.where(run.loss > 0)
                    panel.line(run[spent], y, label, colour=colour, symbol=symbol, width=2, size=5, hover=hover)
    start = table.loss[table.iteration == table.iteration.min()].max()
    shown = table.loss[(table.loss <= 5 * start) & (table.loss > 0)]  # a diverging run leaves the axes
    ends = (float(shown.min()) / 1.2, float(shown.max()) * 1.2) if len(shown) else None
    return grid.y("loss J [nats]", log=True, range=ends)


def _answer(table: pd.DataFrame) -> Answer:
    """Per solver, means over seeds: the end, and the lowest loss within what the cheapest solver spent in all."""
    rows, told = [], []
    places = split(table, "model", "task")
    for place, own in places:
        runs = list(own.groupby(["label", "seed"], sort=False, dropna=False))
        least = {spent: min(float(run[spent].max()) for _, run in runs) for spent in _AXES}
        found = []
        for (label, _), run in runs:
            first = float(run.loss[run.iteration == run.iteration.min()].mean())
            last = float(run.sort_values("iteration").loss.iloc[-1])
            row = {"label": label, "start [nats]": first, "end [nats]": last}
            row |= {"lowest [nats]": float(run.loss.min())}
            within = {spent: run.loss[run[spent] <= least[spent]].min() for spent in _AXES}
            found.append(row | {f"at {least[spent]:.3g} {_SHORT[spent]} [nats]": within[spent] for spent in _AXES})
        frame = pd.DataFrame(found)
        means = frame.groupby("label", sort=False).mean().assign(runs=frame.groupby("label", sort=False).size())
        best = means.iloc[:, 3:-1]
        before = f"{place}: " if len(places) > 1 else ""
        for column in best:
            spent = str(column).removesuffix(" [nats]")
            told.append(f"{before}{spent}: {best[column].idxmin()}, {best[column].min():.3g}")
        rows.append(means.reset_index().assign(**({"where": place} if len(places) > 1 else {})))
    return Answer(listed("Solver with the lowest loss [nats]", told), pd.concat(rows, ignore_index=True))


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
    conclude=_answer,
    averages=("seed",),
    caption=(
        "Loss of one fixed batch under solvers of the control problem, all from the same start, against what they have "
        "spent: passes over the batch, seconds, costate evaluations. One line per solver and run."
    ),
    reading=(
        "Lower and further left is better, and the three panels need not agree: a solver that maximises Hamiltonians "
        "layer by layer needs few costate evaluations and many passes. A line that leaves the panel at the top belongs "
        "to a solver that diverges. Compare lines at the same abscissa, not at their ends. It is the loss of the batch "
        "that is minimised, so nothing here concerns generalisation."
    ),
    source=(LI_2017, LI_HAO_2018),
    example=_example,
)
