"""How far each layer is from the maximum principle along training, beside the loss."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.figures.costates import ALONG_TRAINING, example, stages_of
from lab.figures.definition import Column, Figure
from lab.figures.grammar import Grid, first_seen, listed, split
from lab.figures.sources import LI_2017
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = {
    **ALONG_TRAINING,
    "controls": Column("coordinates of φ that act in the stage", "count"),
    "residual": Column("‖∇_u H_t‖ = ‖∂J/∂u_t‖", "nats per unit of control"),
    "residual_relative": Column("‖∇_u H_t‖·‖u_t‖ / |J|, change of ln J if u_t grew by its length", "1"),
    "loss": Column("J on the batch", "nats"),
}


_SHOWN = {
    "residual": "‖∇<sub>u</sub>H‖ [nats / unit]",
    "residual_relative": "‖∇<sub>u</sub>H‖·‖u‖ / J [1]",
}


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=3, height=300)
    runs = split(table, "label", "model", "task")
    stages = first_seen(stage for _, part in runs for stage in stages_of(part))
    grid.depths(range(len(stages)), "stage [index]")
    known = table.residual_relative[table.residual_relative > 0]
    relative = (float(known.min()) / 1.2, float(known.max()) * 1.2) if len(known) else None
    for name, part in runs:
        panels, acting = grid.row(name, 3), part[part.controls > 0]
        for stage in stages_of(acting):
            along = acting[acting.stage == stage].sort_values("step")
            look = {"depth": stages.index(stage), "symbol": "circle", "size": 4, "hover": "step %{x}: %{y:.4g}"}
            for panel, quantity in zip(panels[:2], _SHOWN, strict=True):
                panel.line(along.step, along[quantity].where(along[quantity] > 0), stage, **look)
        loss = part.drop_duplicates("step").sort_values("step")
        look = {"colour": theme.ink, "dash": "dot", "symbol": "circle", "size": 4}
        panels[2].line(loss.step, loss.loss, "loss", hover="step %{x}: %{y:.4g} nats", **look)
        panels[2].y("loss J [nats]", zero=True)
        panels[0].y(_SHOWN["residual"], log=True)
        panels[1].y(_SHOWN["residual_relative"], log=True, range=relative)  # one scale for all methods
    return grid.x("training step [count]")


def _answer(table: pd.DataFrame) -> Answer:
    """Per run: ‖∇J‖ and loss at the start and the end, and the stage that is furthest from the principle at the end."""
    rows = []
    for name, part in split(table, "label", "model", "task"):
        first, last = (part[part.step == step] for step in (part.step.min(), part.step.max()))
        furthest = last.loc[last.residual.idxmax()]
        row = {"method": name, "‖∇J‖ at the start": _norm(first), "‖∇J‖ at the end": _norm(last)}
        row |= {"loss at the start [nats]": first.loss.iloc[0], "loss at the end [nats]": last.loss.iloc[0]}
        row |= {"furthest at the end": furthest.stage}
        row |= {"its share": furthest.residual**2 / max(_norm(last) ** 2, 1e-300)}
        rows.append(row | {"largest relative residual at the end": last.residual_relative.max()})
    told = [
        f"{row['method']} {row['‖∇J‖ at the start']:.3g} to {row['‖∇J‖ at the end']:.3g}, furthest at the end "
        f"{row['furthest at the end']}"
        for row in rows
    ]
    return Answer(listed("Residual ‖∇J‖ from the start to the end of training", told), pd.DataFrame(rows))


def _norm(part: pd.DataFrame) -> float:
    return float(np.sqrt(np.square(part.residual).sum()))


PMP_RESIDUAL = Figure(
    name="pmp_residual",
    title="Residual of the maximum principle",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=2,
    conclude=_answer,
    caption=(
        "Norm of the gradient of the Hamiltonian in the controls of each stage along training, on one fixed batch, one "
        "row per method: absolute; times the norm of the controls and over the loss; and the loss of the same batch. "
        "It vanishes where H_t is stationary in the controls of the stage, the first-order condition of the principle."
    ),
    reading=(
        "A line that falls is a layer whose controls approach a stationary point of their Hamiltonian. Training on "
        "other batches keeps it from zero on this one. A residual that falls while the loss does not is a plateau, not "
        "an optimum. Absolute norms are per unit of a method's own coordinates and cannot be compared between methods. "
        "Relative ones can: the change of ln J, to first order, if the controls of the stage grew by their own length. "
        "They are 0, and not drawn, where the controls still are 0."
    ),
    source=(LI_2017,),
    example=example,
    table="pontryagin",
)
