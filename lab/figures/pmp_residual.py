"""How far each layer is from the maximum principle along training, beside the loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.costates import ALONG_TRAINING, example
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, listed, split
from lab.figures.sources import LI_2017
from lab.figures.stages import chain, short
from lab.figures.style import Theme, plain
from lab.statistics import Answer

_COLUMNS = {**ALONG_TRAINING, **columns("pmp_residual", "controls", "residual", "residual_relative", "loss")}

_OF_STAGES = ("‖∇<sub>u</sub>H‖ [nats / unit]", "‖∇<sub>u</sub>H‖·‖u‖ / J [1]")
_OF_METHODS = ("‖∇<sub>φ</sub>J‖ [nats / unit]", "largest ‖∇<sub>u</sub>H‖·‖u‖ / J [1]")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """One run: a line for each stage. Several: each method's residual of all stages, a row for each PLM and task."""
    alone = len(split(table, "label", "model", "task")) == 1
    grid = Grid(theme, wrap=3, height=320, labels=table.label)
    for place, own in split(table, "model", "task"):
        residual, relative, loss = panels = grid.row(place, 3)
        for label, part in split(own, "label"):
            _run(panels, part.sort_values("step"), label, alone)
        for panel, title in zip((residual, relative), _OF_STAGES if alone else _OF_METHODS, strict=True):
            panel.y(title, log=True)
        loss.y("loss J [nats]", zero=True)
    return grid.x("training step [count]")


def _run(panels: Sequence[Panel], part: pd.DataFrame, label: str, alone: bool) -> None:
    """The lines of one method in the three panels of its row."""
    (residual, relative, loss), acting = panels, part[part.controls > 0]
    theme, look = loss.grid.theme, loss.grid.look(label)
    if alone:
        _stages(residual, relative, acting)
    else:
        steps = acting.groupby("step")
        norms, largest = steps.residual.agg(_norm), steps.residual_relative.max()
        _line(residual, norms.index, norms, label, look.colour, look.symbol)
        _line(relative, largest.index, largest, label, look.colour, look.symbol)
    along = part.drop_duplicates("step")
    _line(loss, along.step, along.loss, "" if alone else label, theme.ink if alone else look.colour, look.symbol)


def _stages(first: Panel, relative: Panel, acting: pd.DataFrame) -> None:
    """A line per stage: blocks by colour, what is no block by name."""
    stages, theme = chain(acting.stage), first.grid.theme
    first.grid.depths([float(short(stage)) for stage in stages if short(stage).isdigit()])
    for stage in stages:
        along, block = acting[acting.stage == stage], short(stage)
        for panel, quantity in ((first, "residual"), (relative, "residual_relative")):
            y, hover = along[quantity].where(along[quantity] > 0), f"{plain(stage)}, step %{{x}}: %{{y:.4g}}"
            if block.isdigit():
                panel.line(along.step, y, depth=float(block), symbol="circle", size=4, hover=hover)
            else:
                colour, dash = (theme.muted, "dot") if stage == "embed" else (theme.ink, "dash")
                panel.line(along.step, y, stage, colour=colour, dash=dash, symbol="circle", size=4, hover=hover)


def _line(panel: Panel, x: pd.Series | pd.Index, y: pd.Series, name: str, colour: str, symbol: str) -> None:
    panel.line(x, y.where(y > 0), name, colour=colour, symbol=symbol, hover="step %{x}: %{y:.4g}")


def _answer(table: pd.DataFrame) -> Answer:
    """Per run: ‖∇J‖ and loss at the start and the end, and the stage that is furthest from the principle at the end."""
    rows, told = [], []
    for name, part in split(table, "label", "model", "task"):
        first, last = (part[part.step == step] for step in (part.step.min(), part.step.max()))
        start, end, furthest = _norm(first.residual), _norm(last.residual), last.loc[last.residual.idxmax()]
        row = {"method": name, "‖∇J‖ at the start [nats / unit]": start, "‖∇J‖ at the end [nats / unit]": end}
        row |= {"loss at the start [nats]": first.loss.iloc[0], "loss at the end [nats]": last.loss.iloc[0]}
        row |= {"furthest at the end": furthest.stage, "its share of ‖∇J‖²": furthest.residual**2 / max(end**2, 1e-300)}
        rows.append(row | {"largest relative residual at the end": last.residual_relative.max()})
        told.append(f"{name}: {start:.2g} to {end:.2g}, most at the {furthest.stage}")
    lead = "Residual ‖∇J‖ from the start to the end of training [nats / unit of φ]"
    return Answer(listed(lead, told), pd.DataFrame(rows))


def _norm(residuals: pd.Series) -> float:
    return float(np.sqrt(np.square(residuals).sum()))


PMP_RESIDUAL = Figure(
    name="pmp_residual",
    title="Residual of the maximum principle",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=2,
    conclude=_answer,
    caption=(
        "Norm of the gradient of the Hamiltonian in the controls of each stage along training, on one fixed batch: "
        "absolute; times the norm of the controls and over the loss; and the loss of the same batch. For one run, a "
        "line per stage; for several, a line per method: the norm over all stages, and the largest relative one. It "
        "vanishes where H_t is stationary in the controls of the stage, the first-order condition of the principle."
    ),
    reading=(
        "A line that falls is a layer whose controls approach a stationary point of their Hamiltonian. Training on "
        "other batches keeps it from zero on this one. A residual that falls while the loss does not is a plateau, not "
        "an optimum. Absolute norms are per unit of a method's own coordinates and cannot be compared between methods. "
        "Relative ones can: the change of ln J, to first order, if the controls of the stage moved by their own length "
        "along the gradient. "
        "They are 0, and not drawn, where the controls still are 0."
    ),
    source=(LI_2017,),
    example=example,
    table="pontryagin",
)
