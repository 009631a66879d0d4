"""How far each layer is from the maximum principle along training, beside the loss."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.costates import ALONG_TRAINING, example, log_axis, runs_of, stages_of
from lab.figures.definition import Column, Figure
from lab.figures.sources import LI_2017
from lab.figures.style import Theme, plain

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


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    runs = runs_of(table)
    columns = len(_SHOWN) + 1
    figure = make_subplots(
        len(runs), columns, horizontal_spacing=0.12, vertical_spacing=min(0.12, 0.4 / len(runs)),
        subplot_titles=[title for name in runs for title in (plain(name), *[""] * (columns - 1))],
    )  # fmt: skip
    figure.update_annotations(font=None)
    every = list(dict.fromkeys(stage for part in runs.values() for stage in stages_of(part)))
    colours = dict(zip(every, theme.depths(len(every)), strict=True))
    listed: set[str] = set()
    for row, (name, part) in enumerate(runs.items(), start=1):
        acting = part[part.controls > 0]
        for stage in stages_of(acting):
            along = acting[acting.stage == stage].sort_values("step")
            for column, quantity in enumerate(_SHOWN, start=1):
                figure.add_scatter(
                    x=along.step, y=along[quantity].where(along[quantity] > 0), mode="lines+markers", name=plain(stage),
                    legendgroup=plain(stage), showlegend=stage not in listed, marker={"size": 4},
                    line={"color": colours[stage], "width": 1.8}, row=row, col=column,
                    hovertemplate=f"step %{{x}}: %{{y:.4g}}<extra>{plain(name)}, {plain(stage)}</extra>",
                )  # fmt: skip
                listed.add(stage)
        loss = part.drop_duplicates("step").sort_values("step")
        figure.add_scatter(
            x=loss.step, y=loss.loss, mode="lines+markers", name="loss", showlegend=row == 1, legendgroup="loss",
            marker={"size": 4}, line={"color": theme.ink, "width": 1.8, "dash": "dot"}, row=row, col=columns,
            hovertemplate=f"step %{{x}}: %{{y:.4g}} nats<extra>{plain(name)}</extra>",
        )  # fmt: skip
        for column, (quantity, title) in enumerate(_SHOWN.items(), start=1):
            # relative residuals are on one scale for all methods, absolute ones are not
            axis = log_axis(table[quantity] if quantity == "residual_relative" else acting[quantity])
            figure.update_yaxes(type="log", title_text=title, **axis, row=row, col=column)
        figure.update_yaxes(title_text="loss J [nats]", rangemode="tozero", row=row, col=columns)
    figure.update_xaxes(title_text="training step [count]", row=len(runs))
    figure.update_layout(height=320 if len(runs) == 1 else 235 * len(runs))
    return figure


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per run: ‖∇J‖ and loss at the start and the end, and the stage that is furthest from the principle at the end."""
    rows = []
    for name, part in runs_of(table).items():
        first, last = (part[part.step == step] for step in (part.step.min(), part.step.max()))
        furthest = last.loc[last.residual.idxmax()]
        rows.append(
            {"method": name, "‖∇J‖ at the start": _norm(first), "‖∇J‖ at the end": _norm(last),
             "loss at the start [nats]": float(first.loss.iloc[0]), "loss at the end [nats]": float(last.loss.iloc[0]),
             "furthest at the end": furthest.stage, "its share": furthest.residual**2 / max(_norm(last) ** 2, 1e-300),
             "largest relative residual at the end": last.residual_relative.max()}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _norm(part: pd.DataFrame) -> float:
    return float(np.sqrt(np.square(part.residual).sum()))


def _describe(table: pd.DataFrame) -> str:
    return " ".join(
        f"{row.method}: the residual goes from {row['‖∇J‖ at the start']:.3g} to {row['‖∇J‖ at the end']:.3g} while "
        f"the loss goes from {row['loss at the start [nats]']:.3g} to {row['loss at the end [nats]']:.3g} nats; "
        f"{row['furthest at the end']} is furthest from the principle in the end."
        for _, row in _summary(table).iterrows()
    )


PMP_RESIDUAL = Figure(
    name="pmp_residual",
    title="Residual of the maximum principle",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=2,
    summary=_summary,
    describe=_describe,
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
