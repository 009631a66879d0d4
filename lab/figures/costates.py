"""Costates and Hamiltonian along depth and along training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, Panel, listed, split
from lab.figures.sources import LI_2017, LI_HAO_2018
from lab.figures.stages import chain, short, written
from lab.figures.style import Theme
from lab.statistics import Answer

ALONG_TRAINING = columns("costates", "label", "model", "task", "step", "stage", "t")
_COLUMNS = {**ALONG_TRAINING, **columns("costates", "costate", "hamiltonian", "loss")}


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """One run: a line for each step. Several: start and end of each, a row for each PLM and task."""
    if len(split(table, "label", "model", "task")) == 1:
        return _one(table, theme)
    grid = Grid(theme, wrap=2, height=360, labels=table.label)
    for place, own in split(table, "model", "task"):
        panels = _panels(grid, place, own)
        for label, part in split(own, "label"):
            for when, step in (("at the start", part.step.min()), ("at the end", part.step.max())):
                _ends(panels, part[part.step == step].sort_values("t"), label, when)
    return grid


def _one(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=360).depths(table.step, "training step [count]")
    ((name, _),) = split(table, "label", "model", "task")
    norms, values = _panels(grid, name, table)
    for step in sorted(table.step.unique()):
        along = table[table.step == step].sort_values("t")
        for panel, y in ((norms, along.costate.where(along.costate > 0)), (values, along.hamiltonian)):
            hover = f"step {step:g}, %{{x}}: %{{y:.4g}}"
            panel.line(along.stage.map(short), y, depth=float(step), symbol="circle", size=4, hover=hover)
    return grid


def _ends(panels: tuple[Panel, Panel], along: pd.DataFrame, label: str, when: str) -> None:
    """A method's line at the start (dotted, thin) or at the end of its training, in both panels."""
    look, end = panels[0].grid.look(label), when == "at the end"
    dash, width, size = ("solid", 2.0, 6.0) if end else ("dot", 1.0, 4.0)
    for panel, y in zip(panels, (along.costate.where(along.costate > 0), along.hamiltonian), strict=True):
        x, hover, colour = along.stage.map(short), "%{x}: %{y:.4g}", look.colour
        panel.line(
            x, y, label, colour=colour, symbol=look.symbol, size=size, dash=dash, width=width, key=when, hover=hover
        )


def _panels(grid: Grid, title: str, table: pd.DataFrame) -> tuple[Panel, Panel]:
    """Norms of costates, and the Hamiltonian with its zero, along the stages of one PLM."""
    names = [short(stage) for stage in chain(table.stage)]
    norms, values = grid.row(title, 2)
    norms.y("‖p<sub>t+1</sub>‖ [nats / state]", log=True)
    values.rule(y=0, dash="solid").y("H<sub>t</sub> [nats]")
    for panel in (norms, values):
        panel.x("stage [block number]", categories=names, ticks=written(names))
    return norms, values


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
            row |= {f"loss, {word} [nats]": float(along.loss.iloc[0])}
            row |= {f"‖p‖ after the first block, {word} [nats / state]": first}
            row |= {f"‖p‖ after the last, {word} [nats / state]": last, f"H after the last, {word} [nats]": energy}
        rows.append(row)
        told.append(f"{name}: {first:.2g} to {last:.2g}")
    lead = "‖p‖ from the first block to the last at the end of training [nats / state]"
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
        "steps of training, on one fixed batch. For one run, a line for each step; for several, the start (dotted) and "
        "the end (solid) of each method's training, one row per PLM and task."
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
