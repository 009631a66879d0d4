"""Costates and Hamiltonian along depth and along training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.figures.definition import TEXT, Column, Figure
from lab.figures.grammar import Grid, first_seen, listed, split
from lab.figures.sources import LI_2017, LI_HAO_2018
from lab.figures.style import Theme
from lab.statistics import Answer

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


def stages_of(part: pd.DataFrame) -> list[str]:
    """The stages of a run in the order of the chain."""
    return first_seen(part.sort_values("t").stage)


def short(stage: str) -> str:
    """Blocks by number alone: their names would not fit side by side."""
    return stage.removeprefix("block ")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=3, height=300).depths(table.step, "step [count]")
    for name, part in split(table, "label", "model", "task"):
        stages, steps = stages_of(part), [f"{step:g}" for step in sorted(part.step.unique())]
        map_, norms, values = grid.row(name, 3)
        cells = part.pivot_table("costate", "stage", "step").reindex(stages).set_axis(steps, axis=1)
        hover = "step %{x}, %{y}: %{customdata[0]:.3g}"
        map_.heat(cells, "‖p‖ [nats / state]", log=True, data=[cells], gap=0, hover=hover)
        map_.x("training step [count]", categories=steps).y("stage [name]", categories=stages)
        for step, along in part.groupby("step"):
            along = along.sort_values("t")
            for panel, quantity in ((norms, "costate"), (values, "hamiltonian")):
                y = along[quantity].where((along[quantity] > 0) | (quantity == "hamiltonian"))
                look = {"depth": step, "symbol": "circle", "size": 4, "hover": "%{x}: %{y:.4g}"}
                panel.line(along.stage.map(short), y, f"step {step:g}", **look)
        norms.y("‖p<sub>t+1</sub>‖ [nats / state]", log=True)
        values.y("H<sub>t</sub> [nats]")
        for panel in (norms, values):
            panel.x("stage, blocks by number [name]", categories=[short(stage) for stage in stages])
    return grid


def _answer(table: pd.DataFrame) -> Answer:
    """Per run: how much costates grow over the blocks, at the start and at the end of training."""
    rows, told = [], []
    for name, part in split(table, "label", "model", "task"):
        row: dict[str, object] = {"method": name}
        for word, step in (("start", part.step.min()), ("end", part.step.max())):
            along = part[part.step == step].sort_values("t")
            blocks = along[along.stage.str.startswith("block")]
            first, last = (float(blocks.costate.iloc[i]) for i in (0, -1)) if len(blocks) else (np.nan, np.nan)
            energy = float(blocks.hamiltonian.iloc[-1]) if len(blocks) else np.nan
            row |= {f"loss, {word} [nats]": float(along.loss.iloc[0]), f"‖p‖ after the first block, {word}": first}
            row |= {f"after the last, {word}": last, f"H after the last, {word} [nats]": energy}
        rows.append(row)
        told.append(f"{name} {first:.3g} to {last:.3g}")
    lead = "‖p‖ from the first block to the last, after training"
    return Answer(listed(lead, told), pd.DataFrame(rows))


def example() -> pd.DataFrame:
    """Made-up runs: costates that grow with depth and shrink with training, residuals likewise."""
    rows = []
    for label, speed in (("LoRA", 1.0), ("prompt", 0.3)):
        for step in (0, 10, 20):
            size = float(np.exp(-0.1 * speed * step))
            for t, stage in enumerate(("embed", "block 0", "block 1", "block 2", "readout")):
                acts = not (label == "prompt" and 0 < t < 4)
                sizes = (0.01 * 1.6**t * size, 0.02 * (t - 2) * size, 1.6 * size)
                controls, residual = (100, 0.05 * 1.3**t * size) if acts else (0, 0.0)
                rows.append((label, "minilm", "bbc-news", step, stage, t, *sizes, controls, residual))
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
    conclude=_answer,
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
