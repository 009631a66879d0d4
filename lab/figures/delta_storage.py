"""What a delta takes on disk beside its PLM, and how long it takes to load."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, first_seen, listed, split
from lab.figures.sources import DING_2022
from lab.figures.style import Theme
from lab.statistics import Answer

PLM = "the PLM"
_COLUMNS = columns("delta_storage", "model", "label", "bytes", "fraction", "load_seconds")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    labels = first_seen(table.label)
    grid = Grid(theme, wrap=2, height=38 * len(labels), share_y=True)
    size, load = grid.panel().x("size on disk [MB]", log=True), grid.panel().x("time to load [ms]", log=True)
    for model, part in split(table, "model"):
        marked: dict[str, Any] = {"symbol": grid.symbol(model), "size": 10, "data": [part.fraction]}
        for panel, values, unit in ((size, part.bytes / 1e6, "MB"), (load, 1e3 * part.load_seconds, "ms")):
            hover = f"%{{y}}: %{{x:.4g}} {unit}, %{{customdata[0]:.3%}} of the PLM"
            panel.points(values, part.label, model, hover=hover, **marked)
    return grid.y(categories=labels)


def _answer(table: pd.DataFrame) -> Answer:
    """Per model and method: size, share of the PLM, time to load."""
    columns = {"size [MB]": table.bytes / 1e6, "of the PLM [fraction]": table.fraction}
    columns |= {"load [ms]": 1e3 * table.load_seconds}
    found, told = pd.DataFrame({"model": table.model, "label": table.label, **columns}), []
    for model, part in split(table, "model"):
        deltas = part[~part.label.isin([PLM, "full fine-tuning"])]
        if deltas.empty:
            told.append(f"{model}: {part.bytes.iloc[0] / 1e6:.3g} MB for {part.label.iloc[0]}, nothing beside it")
            continue
        least, most = (deltas.sort_values("bytes").iloc[i] for i in (0, -1))
        told.append(
            f"{model}: {least.bytes / 1e6:.3g} MB ({least.label}, {least.fraction:.2%} of the PLM) "
            f"to {most.bytes / 1e6:.3g} MB ({most.label}, {most.fraction:.2%})"
        )
    return Answer(listed("Size of a delta on disk", told), found)


def _example() -> pd.DataFrame:
    """Made-up sizes."""
    sizes = ((PLM, 1.0), ("full fine-tuning", 1.0), ("LoRA", 0.003), ("prompt", 0.001))
    rows = [
        (model, label, whole * share, share, 1e-4 + 1e-9 * whole * share)
        for model, whole in (("small", 9e7), ("large", 5e8))
        for label, share in sizes
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


DELTA_STORAGE = Figure(
    name="delta_storage",
    title="Deltas on disk",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="methods",
    order=13,
    averages=("task", "seed"),
    caption=(
        "Size on disk (safetensors, float32) and time to load of each method's delta, its classification head "
        "included, beside the PLM itself; both axes are logarithmic."
    ),
    reading=(
        "The distance to the PLM's mark is how many users' deltas fit into the storage of one copy of it: two decades "
        "are a hundred. Files are read from the page cache; for the smallest ones opening the file takes longer than "
        "reading it, so load times stop falling where sizes still do."
    ),
    source=(DING_2022,),
    example=_example,
)
