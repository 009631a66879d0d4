"""Costates and Hamiltonian along depth and along training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures.definition import TEXT, Column, Figure, with_model
from lab.figures.sources import LI_2017, LI_HAO_2018
from lab.figures.style import Theme, log_ticks, plain

ALONG_TRAINING = {
    "label": Column("the method", TEXT),
    "model": Column("the PLM", TEXT),
    "task": Column("the task the batch is from", TEXT),
    "step": Column("training steps taken", "count"),
    "stage": Column("stage of the chain", TEXT),
    "t": Column("its number", "count"),
}
_COLUMNS = {
    **ALONG_TRAINING,
    "costate": Column("norm of p_{t+1}, the costate of the state that leaves the stage", "nats per unit of state"),
    "hamiltonian": Column("H_t(h_t, p_{t+1}, u_t)", "nats"),
    "loss": Column("J on the batch", "nats"),
}


def runs_of(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """One part per run, named by its method, and by PLM and task where there are several."""
    several = [name for name in ("model", "task") if table[name].nunique() > 1]
    names = table[["label", *several]].astype(str).agg(" · ".join, axis=1)
    return {name: table[names == name] for name in dict.fromkeys(names)}


def by_task(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """One part per PLM and task, named by `places`."""
    names = places(table)
    return {str(name): table[names == name] for name in dict.fromkeys(names)}


def places(table: pd.DataFrame) -> pd.Series:
    """The task of each row, with its PLM where there are several: "minilm · imdb"."""
    return with_model(table, "task", " · ")


def stages_of(part: pd.DataFrame) -> list[str]:
    """The stages of a run in the order of the chain."""
    return list(dict.fromkeys(part.sort_values("t").stage))


def _build(table: pd.DataFrame, theme: Theme) -> go.Figure:
    runs = runs_of(table)
    figure = make_subplots(
        len(runs), 3, horizontal_spacing=0.1, column_widths=[0.36, 0.32, 0.32],
        vertical_spacing=min(0.12, 0.4 / len(runs)),
        subplot_titles=[title for name in runs for title in (plain(name), "", "")],
    )  # fmt: skip
    figure.update_annotations(font=None)
    logs = np.log10(table.costate[table.costate > 0].to_numpy(float))
    low, high = (float(logs.min()), float(logs.max())) if len(logs) else (-1.0, 1.0)
    steps = sorted(table.step.unique())
    colours = dict(zip(steps, theme.depths(len(steps)), strict=True))
    for row, (name, part) in enumerate(runs.items(), start=1):
        stages = stages_of(part)
        grid = part.pivot_table("costate", "stage", "step").reindex(stages)
        z = np.log10(grid.where(grid > 0).to_numpy(float))
        figure.add_heatmap(
            x=[f"{step:g}" for step in grid.columns], y=[plain(stage) for stage in stages], z=z,
            zmin=low, zmax=high, colorscale=_scale(theme), showscale=row == 1,
            colorbar={"title": {"text": "log₁₀ ‖p<sub>t+1</sub>‖, heat maps", "side": "right"}, "thickness": 12},
            hovertemplate=f"step %{{x}}, %{{y}}: ‖p‖ = 10^%{{z:.2f}}<extra>{plain(name)}</extra>", row=row, col=1,
        )  # fmt: skip
        for step, along in part.groupby("step"):
            along = along.sort_values("t")
            for column, quantity in ((2, "costate"), (3, "hamiltonian")):
                y = along[quantity].where(along[quantity] > 0) if quantity == "costate" else along[quantity]
                figure.add_scatter(
                    x=[short(stage) for stage in along.stage], y=y, mode="lines+markers", name=f"step {step:g}",
                    legendgroup=str(step), showlegend=row == 1 and column == 2, marker={"size": 4},
                    line={"color": colours[step], "width": 1.8}, row=row, col=column,
                    hovertemplate=f"%{{x}}: %{{y:.4g}}<extra>{plain(name)}, step {step:g}</extra>",
                )  # fmt: skip
        figure.update_yaxes(title_text="stage [name]", autorange="reversed", row=row, col=1)
        figure.update_yaxes(
            title_text="‖p<sub>t+1</sub>‖ [nats / state]", type="log", **log_axis(table.costate), row=row, col=2
        )
        figure.update_yaxes(title_text="H<sub>t</sub> [nats]", row=row, col=3)
    figure.update_xaxes(type="category")
    figure.update_xaxes(title_text="training step [count]", row=len(runs), col=1)
    for column in (2, 3):
        figure.update_xaxes(title_text="stage, blocks by number [name]", row=len(runs), col=column)
    figure.update_layout(height=320 if len(runs) == 1 else 235 * len(runs))
    return figure


def short(stage: str) -> str:
    """Blocks by number alone: their names would not fit side by side."""
    return plain(stage.removeprefix("block "))


def log_axis(values: pd.Series) -> dict[str, object]:
    """Range and ticks of a logarithmic axis that shows all positive values."""
    positive = values[values > 0]
    if positive.empty:
        return {}
    low, high = float(positive.min()) / 1.2, float(positive.max()) * 1.2
    ticks = log_ticks(low, high)
    return {"range": [np.log10(low), np.log10(high)], "tickvals": ticks, "ticktext": [f"{tick:.3g}" for tick in ticks]}


def _scale(theme: Theme) -> list[list[float | str]]:
    colours = theme.depths(12)
    return [[i / 11, colour] for i, colour in enumerate(colours)]


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per run: how much costates grow over the blocks, at the start and at the end of training."""
    rows = []
    for name, part in runs_of(table).items():
        row: dict[str, object] = {"method": name}
        for word, step in (("start", part.step.min()), ("end", part.step.max())):
            along = part[part.step == step].sort_values("t")
            blocks = along[along.stage.str.startswith("block")]
            first, last = (float(blocks.costate.iloc[i]) for i in (0, -1)) if len(blocks) else (np.nan, np.nan)
            row |= {f"loss, {word} [nats]": float(along.loss.iloc[0]), f"‖p‖ after the first block, {word}": first}
            row |= {f"after the last, {word}": last, f"H after the last, {word} [nats]": _last(blocks.hamiltonian)}
        rows.append(row)
    return pd.DataFrame(rows)


def _last(values: pd.Series) -> float:
    return float(values.iloc[-1]) if len(values) else float("nan")


def _describe(table: pd.DataFrame) -> str:
    sentences = []
    for _, row in _summary(table).iterrows():
        sentences.append(
            f"{row['method']}: between the first and the last block ‖p‖ goes from "
            f"{row['‖p‖ after the first block, start']:.3g} to {row['after the last, start']:.3g} at the start, "
            f"and from {row['‖p‖ after the first block, end']:.3g} to {row['after the last, end']:.3g} after training."
        )
    return "Costates along depth. " + " ".join(sentences)


def example() -> pd.DataFrame:
    """Made-up runs: costates that grow with depth and shrink with training, residuals likewise."""
    rows = []
    for label, speed in (("LoRA", 1.0), ("prompt", 0.3)):
        for step in (0, 10, 20):
            size = float(np.exp(-0.1 * speed * step))
            for t, stage in enumerate(("embed", "block 0", "block 1", "block 2", "readout")):
                rows.append((label, "minilm", "bbc-news", step, stage, t, 0.01 * 1.6**t * size, 0.02 * (t - 2) * size,
                             1.6 * size, 0 if label == "prompt" and 0 < t < 4 else 100,
                             0.0 if label == "prompt" and 0 < t < 4 else 0.05 * 1.3**t * size))  # fmt: skip
    table = pd.DataFrame(rows, columns=[*_COLUMNS, "controls", "residual"])
    lengths = np.sqrt(0.01 * table.step)  # controls start at 0
    return table.assign(residual_relative=table.residual * lengths / table.loss)


COSTATES = Figure(
    name="costates",
    title="Costates and Hamiltonian",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=1,
    summary=_summary,
    describe=_describe,
    caption=(
        "Norm of the costates p = −∂J/∂h and Hamiltonian H along the stages of the network (depth is time), at several "
        "steps of training, on one fixed batch; one row per method. Left: all steps as a heat map, on a logarithmic "
        "colour scale; middle and right: one line per step."
    ),
    reading=(
        "A costate says how much the loss would fall per unit of change of the state there, so a layer with a large "
        "costate is one where a small push is worth most. Along a stage without loss of signal the norm stays; growth "
        "towards the output means that earlier states are amplified less. H is not conserved along depth: layers "
        "differ, so the system is not autonomous. Norms depend on the size of the batch, since J is a mean over it."
    ),
    source=(LI_2017, LI_HAO_2018),
    example=example,
    table="pontryagin",
)
