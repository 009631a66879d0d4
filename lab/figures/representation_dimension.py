"""Intrinsic dimension of the hidden states, layer by layer, beside that of the objective."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import AGHAJANYAN_2020, ANSUINI_2019
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns("representation_dimension", "label", "layer", "estimator", "dimension", "low", "high")
_OPTIONAL = columns("representation_dimension", "objective", "gaussian")


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=4, height=340, share_y=True, labels=table.label)
    for panel, own in grid.by(table, "estimator"):
        for label, part in split(own, "label"):
            part, look = part.sort_values("layer"), grid.look(label)
            ends: dict[str, Any] = {
                "error": part.high - part.dimension,
                "error_down": part.dimension - part.low.clip(lower=0.5),
            }
            dash = "dot" if label.startswith("random weights") else "solid"
            marked: dict[str, Any] = {"colour": look.colour, "symbol": look.symbol, "dash": dash, "size": 5}
            panel.line(part.layer, part.dimension, label, hover="layer %{x}: %{y:.1f}", **marked, **ends)
        for dimension, said in _clouds(own):
            panel.rule(y=said, name=f"a Gaussian of dimension {dimension:g}", dash=grid.dash(f"{dimension:g}"), width=1)
    low, high = max(1.0, float(table.dimension.min())), max(2.0, float(table.dimension.max()))
    return grid.x("layer [count]", whole=True).y("dimension [count]", log=True, range=(0.7 * low, 1.5 * high))


def _clouds(own: pd.DataFrame) -> list[tuple[float, float]]:
    """Of dimensions 10 and 40: what this estimator says of Gaussian clouds of them, read off the table's own pairs.

    Each row has its estimate and the dimension of the cloud that gives the same; between them lies the curve.
    """
    if "gaussian" not in own:
        return []
    pairs = own[np.isfinite(own.gaussian)].sort_values("gaussian").drop_duplicates("gaussian")
    if len(pairs) < 2:
        return []
    within = [d for d in (10.0, 40.0) if pairs.gaussian.min() <= d <= pairs.gaussian.max()]
    said = np.exp(np.interp(np.log(within), np.log(pairs.gaussian), np.log(pairs.dimension)))
    return list(zip(within, said.tolist(), strict=True))


def _answer(table: pd.DataFrame) -> Answer:
    """Per weights and estimator: the dimension of the first, the highest and the last layer; d90 of the objective."""
    rows = []
    for (label, estimator), part in table.groupby(["label", "estimator"], sort=False):
        part = part.sort_values("layer")
        objective = part.objective.iloc[0] if "objective" in part else np.nan
        ends = (part.dimension.iloc[0], part.dimension.max(), part.dimension.iloc[-1])
        rows.append((label, estimator, *ends, part.gaussian.iloc[-1] if "gaussian" in part else np.nan, objective))
    names = ["weights", "estimator", "first layer", "highest", "last layer", "last, read as a Gaussian's"]
    names.append("objective's d90")
    lead = "Dimension of the representations from the first layer to the last, by estimator"
    return Answer(listed(lead, _told(rows)), pd.DataFrame(rows, columns=names))


def _told(rows: list[tuple[Any, ...]]) -> list[str]:
    """Per estimator, what the weights do from the first layer to the last: "TwoNN: pre-trained 26 → 20, tuned …"."""
    by: dict[str, list[str]] = {}
    for label, estimator, first, _, last, *_ in rows:
        by.setdefault(estimator, []).append(f"{label} {first:.3g} → {last:.3g}")
    return [f"{estimator}: {', '.join(parts)}" for estimator, parts in by.items()]


def _example() -> pd.DataFrame:
    """Made-up dimensions that rise and fall with depth."""
    rows = [
        (label, layer, estimator, value, value - 1.2, value + 1.2, 981.0)
        for estimator, factor in (("TwoNN", 1.0), ("MLE", 0.9))
        for label, end in (("pre-trained", 14.0), ("after LoRA r = 8", 8.0), ("random weights", 17.0))
        for layer in range(5)
        for value in [factor * (16 + (end - 16) * (layer / 4) ** 2)]
    ]
    found = pd.DataFrame(rows, columns=[*_COLUMNS, "objective"])
    return found.assign(gaussian=1.2 * found.dimension**1.1)


REPRESENTATION_DIMENSION = Figure(
    name="representation_dimension",
    title="Dimension of representations, layer by layer",
    columns=_COLUMNS,
    optional=_OPTIONAL,
    build=_build,
    conclude=_answer,
    group="loss",
    order=8,
    caption=(
        "Intrinsic dimension of the sentences' hidden states (mean over tokens) at every layer, one panel per "
        "estimator: pre-trained, tuned, and with random weights (dotted grey); intervals are grouped jackknives. The "
        "table gives the objective's d90 beside them, and the dimension of a Gaussian cloud of as many points of which "
        "the estimator says the same; horizontal lines: two such clouds."
    ),
    reading=(
        "Each line follows one kind of weights from the embeddings (layer 0) to the last block. Estimators differ in "
        "the scale they look at: compare shapes between panels and values inside one. A lower last layer after tuning "
        "says that sentences have moved onto fewer directions, such as one per class. Near and above the line of a "
        "high-dimensional Gaussian an estimate is what so few points give whatever the dimension: large, and no "
        "number. The objective's d90 counts directions of weight space, not of representations: the two need not be "
        "alike, and usually differ by orders of magnitude. Random weights keep much of the input's dimension: what "
        "tuning does is the difference from the pre-trained line, not the height of the line."
    ),
    source=(ANSUINI_2019, AGHAJANYAN_2020),
    example=_example,
)
