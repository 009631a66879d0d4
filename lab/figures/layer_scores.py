"""What moving one layer alone promises and gives: the layer choice of L-MSA."""

from __future__ import annotations

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed
from lab.figures.sources import LI_2017
from lab.figures.stages import short, written
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("layer_scores", "label", "model", "task", "place", "stage", "t", "predicted", "measured")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=340)
    for panel, part in grid.by(table, "label", "model", "task", "place"):
        part = part.sort_values("t")
        for name in ("predicted", "measured"):
            panel.bars(part.stage.map(short), part[name], name, hover="stage %{x}: %{y:.4g} nats")
        names = [short(stage) for stage in part.stage]
        panel.rule(y=0, dash="solid").x("stage [block number]", categories=names, ticks=written(names))
    return grid.y("fall of J [nats]")


def _answer(table: pd.DataFrame) -> Answer:
    """Per place, the layer that promises most and the one that gives most."""
    rows = []
    for (label, model, task, place), part in table.groupby(["label", "model", "task", "place"], sort=False):
        promised, given = (part.iloc[int(part[name].to_numpy().argmax())] for name in ("predicted", "measured"))
        row = {"label": label, "model": model, "task": task, "place": place, "promises most": promised.stage}
        row |= {"predicted [nats]": promised.predicted, "measured there [nats]": promised.measured}
        rows.append(row | {"gives most": given.stage, "measured [nats]": given.measured})
    told = [
        f"{row['label']} {row['place']}: {row['promises most']} {row['predicted [nats]']:.3g} promised and "
        f"{row['measured there [nats]']:.3g} given, most by {row['gives most']}"
        for row in rows
    ]
    return Answer(listed("The layer that promises most, fall of J [nats]", told), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made-up scores: late layers promise more, and give a little less than they promise."""
    rows = [
        ("LoRA", "minilm", "bbc-news", place, stage, t, 0.02 * (t + 1) * size, 0.018 * (t + 1) * size)
        for place, size in (("at the start", 1.0), ("at its end", 0.4))
        for t, stage in enumerate(["block 0", "block 1", "block 2", "readout"])
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


LAYER_SCORES = Figure(
    name="layer_scores",
    title="Which layer is worth moving",
    columns=_COLUMNS,
    build=_build,
    group="control",
    order=6,
    conclude=_answer,
    caption=(
        "Fall of the loss when one layer's controls alone take their own best step along the gradient of the "
        "Hamiltonian: by the second-order formula η‖g‖² − ½η²gᵀGg, and what really happens."
    ),
    reading=(
        "A tall pair of bars is a layer worth moving first. Where the two bars differ, the step has left the region in "
        "which a quadratic describes the loss, and the promise should not be trusted. A layer's score says nothing "
        "about what it is worth once other layers have moved."
    ),
    source=(LI_2017,),
    example=_example,
)
