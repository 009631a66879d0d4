"""How far each layer is from the maximum principle along training, beside the loss."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.costates import ALONG_TRAINING, example, log_axis, runs_of, stages_of
from lab.figures.figure import Column, Figure
from lab.figures.sources import LI_2017
from lab.figures.style import Theme, plain

_COLUMNS = {
    **ALONG_TRAINING,
    "controls": Column("coordinates of φ that act in the stage", "count"),
    "residual": Column("‖∇_u H_t‖ = ‖∂J/∂u_t‖", "nats per unit of control"),
    "loss": Column("J on the batch", "nats"),
}


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    runs = runs_of(table)
    panels = len(runs) + 1
    columns = min(panels, 3) if panels != 4 else 2
    rows = -(-panels // columns)
    figure = make_subplots(
        rows, columns, horizontal_spacing=0.11, vertical_spacing=0.32 / rows if rows > 1 else 0.0,
        subplot_titles=[*(plain(name) for name in runs), "loss of all"],
    )  # fmt: skip
    figure.update_annotations(font=None)
    every = list(dict.fromkeys(stage for part in runs.values() for stage in stages_of(part)))
    colours = dict(zip(every, theme.depths(len(every)), strict=True))
    shown: set[str] = set()
    for i, (name, part) in enumerate(runs.items()):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        for stage in stages_of(part):
            along = part[(part.stage == stage) & (part.controls > 0)].sort_values("step")
            if along.empty:
                continue
            figure.add_scatter(
                x=along.step, y=along.residual.where(along.residual > 0), mode="lines+markers", name=plain(stage),
                legendgroup=plain(stage), showlegend=stage not in shown, marker={"size": 4},
                line={"color": colours[stage], "width": 1.8},
                hovertemplate=f"step %{{x}}: %{{y:.4g}}<extra>{plain(name)}, {plain(stage)}</extra>", **place,
            )  # fmt: skip
            shown.add(stage)
        axis = log_axis(part.residual[part.controls > 0])
        figure.update_yaxes(type="log", title_text="‖∇<sub>u</sub>H‖ [nats / unit]", **axis, **place)
        figure.update_xaxes(title_text="training step [count]", **place)
    last = {"row": len(runs) // columns + 1, "col": len(runs) % columns + 1}
    for i, (name, part) in enumerate(runs.items()):
        loss = part.drop_duplicates("step").sort_values("step")
        figure.add_scatter(
            x=loss.step, y=loss.loss, mode="lines+markers", name=plain(name),
            marker={"size": 5, "symbol": theme.symbol(i)}, **last,
            line={"color": theme.colour(i), "width": 2, "dash": "dot"},
            hovertemplate=f"step %{{x}}: %{{y:.4g}} nats<extra>{plain(name)}</extra>",
        )  # fmt: skip
    figure.update_yaxes(title_text="loss J [nats]", rangemode="tozero", **last)
    figure.update_xaxes(title_text="training step [count]", **last)
    figure.update_layout(height=380 if rows == 1 else 260 * rows)
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
             "furthest at the end": furthest.stage, "its share": furthest.residual**2 / max(_norm(last) ** 2, 1e-300)}
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
    summary=_summary,
    describe=_describe,
    caption=(
        "Norm of the gradient of the Hamiltonian in the controls of each stage along training, one panel per method, "
        "on one fixed batch; the last panel is the loss of the same batch. It vanishes where the controls of the stage "
        "satisfy the maximum principle to first order."
    ),
    reading=(
        "A line that falls is a layer whose controls approach a stationary point of their Hamiltonian. Training on "
        "other batches keeps it from zero on this one. A residual that falls while the loss does not is a plateau, not "
        "an optimum. Norms of different methods are per unit of their own coordinates and cannot be compared."
    ),
    source=(LI_2017,),
    example=example,
    table="pontryagin",
)
