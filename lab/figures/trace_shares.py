"""Which layers the controllability of the end state comes from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import DING_2022
from lab.figures.stages import chain, short, written
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("trace_shares", "label", "model", "task", "kind", "stage", "t", "share", "trace", "error")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=340, share_y=True, labels=table.label)
    for panel, part in grid.by(table, "model", "task", "kind"):
        stages = _stages(part)
        names = [short(stage) for stage in stages]
        for label, own in split(part, "label"):
            run, look = own.groupby("stage")[["share", "trace", "error"]].mean().reindex(stages), grid.look(label)
            errors = 1.96 * (run.share * run.error / run.trace.where(run.trace > 0)).fillna(0.0)
            colour, hover = look.colour, "stage %{x}: %{y:.1%}"
            panel.line(names, run.share, label, colour=colour, symbol=look.symbol, error=errors, hover=hover)
        panel.x("stage [block number]", categories=names, ticks=written(names))
    return grid.y("share of tr W [1]", range=(-0.03, 1.06))


def _stages(table: pd.DataFrame) -> list[str]:
    """Stages that come before the end state: embed, then the blocks."""
    moving = table[table.share > 0]
    return chain(moving.sort_values("t").stage if len(moving) else table.stage)


def _answer(table: pd.DataFrame) -> Answer:
    """Per method: the stage with the largest share, and the mean depth Σ share · t of where control comes from."""
    rows, told = [], []
    for kind, own in split(table, "kind"):
        for name, runs in split(own, "label", "model", "task"):
            part = runs.groupby("stage", sort=False, as_index=False)[["t", "share", "trace"]].mean()  # over seeds
            largest, first = part.iloc[int(part.share.to_numpy().argmax())], runs.iloc[0]
            row = {"method": first.label, "model": first.model, "task": first.task, "when": kind}
            row |= {"largest at": largest.stage, "its share": largest.share}
            row |= {"mean stage": float(np.sum(part.share * part.t))}
            rows.append(row | {"tr W [state² / unit²]": float(part.trace.sum())})
            if kind == table.kind.iloc[0]:
                told.append(f"{name}: {largest.stage} ({largest.share:.0%})")
    lead = f"The stage that controls the end state most, {table.kind.iloc[0]}, and its share"
    return Answer(listed(lead, told), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made-up shares: LoRA in all blocks, a prompt before them."""
    rows = []
    for kind in ("at the start", "after training"):
        for t, stage in enumerate(("embed", "block 0", "block 1", "block 2")):
            share = (0.0, 0.5, 0.3, 0.2)[t]
            rows.append(("LoRA", "minilm", "bbc-news", kind, stage, t, share, 10 * share, 0.4 * share))
            rows.append(("prompt", "minilm", "bbc-news", kind, stage, t, float(t == 0), 5.0 * (t == 0), 0.2 * (t == 0)))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


TRACE_SHARES = Figure(
    name="trace_shares",
    title="Which layers control the end state",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=8,
    conclude=_answer,
    averages=("seed",),
    caption=(
        "Share of each stage in the trace of the controllability Gramian of the state after the last block, ‖Φ_t B_t‖² "
        "over its sum, per method, before and after training. Bars: 95 % intervals of the estimate, which uses random "
        "signs."
    ),
    reading=(
        "A high point is a layer whose controls move the end state much, per unit of control and averaged over all "
        "directions. A flat line is what equal layers would give. The trace is blind to the task: directions that "
        "do not matter to the loss count as much as those that do."
    ),
    source=(DING_2022,),
    example=_example,
)
