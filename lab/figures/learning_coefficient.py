"""Learning coefficients that were estimated, beside closed forms, half the effective dimension, and half of d."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, first_seen, listed, split
from lab.figures.sources import AOYAGI_2005, LAU_2023
from lab.figures.style import Theme
from lab.statistics import Answer

_COLUMNS = columns(
    "learning_coefficient", "label", "place", "dimension", "estimate", "low", "high", "closed_form", "quadratic"
)
_MARKS = {"closed_form": ("closed form", "diamond-open"), "quadratic": ("N(γ)/2", "triangle-up-open")}


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    grid = Grid(theme, wrap=2, height=360)
    for panel, part in grid.by(table, "place", "model", "task"):
        panel.x("", categories=first_seen(part.label))
        panel.points(
            part.label, part.estimate, "estimate λ̂", colour=theme.palette[0], error=part.high - part.estimate,
            error_down=part.estimate - part.low, hover="λ̂ = %{y:.3g}",
        )  # fmt: skip
        once = part.drop_duplicates("label")
        panel.points(
            once.label, once.dimension / 2, "d/2, a regular model", colour=theme.muted, symbol="line-ew", size=22,
            hover="d/2 = %{y:.4g}",
        )  # fmt: skip
        for i, (column, (title, symbol)) in enumerate(_MARKS.items(), 1):
            known = part.dropna(subset=[column])
            if len(known):
                panel.points(
                    known.label, known[column], title, colour=theme.palette[i], symbol=symbol, size=12, hover="%{y:.4g}"
                )
    return grid.y("learning coefficient λ [1]", log=True)


def _answer(table: pd.DataFrame) -> Answer:
    """Per place and label: λ̂ beside what it is to be read against."""
    rows, told = [], []
    for name, own in split(table, "label", "place", "model", "task"):
        row: dict[str, Any] = {"of": name, "d [count]": int(own.dimension.iloc[0]), "λ̂": own.estimate.mean()}
        row |= {"low": own.low.mean(), "high": own.high.mean()}
        row |= {"closed form": own.closed_form.mean(), "N(γ)/2": own.quadratic.mean()}
        beside = "closed form" if row["N(γ)/2"] != row["N(γ)/2"] else "N(γ)/2"
        told.append(f"{name}: {row['λ̂']:.3g} ({beside} {row[beside]:.3g}, d/2 {row['d [count]'] / 2:.4g})")
        rows.append(row)
    return Answer(listed("Learning coefficient λ̂", told), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made up: a regression whose closed form is met, and three deltas far below half of their parameters."""
    rows = []
    for rank, known in enumerate((7.0, 9.0, 10.5, 12.0)):
        value = known * (0.97 - 0.01 * rank)
        rows.append((f"rank {rank}", "6 → 3 → 5", 33, value, value - 0.4, value + 0.4, known, float("nan")))
    for label, d, value, whole in (("LoRA r = 1", 9216, 21.0, 4602.0), ("LoRA r = 8", 73_728, 26.0, 36_480.0),
                                   ("BitFit", 26_112, 18.0, float("nan"))):  # fmt: skip
        rows.append((label, "minilm on bbc-news", d, value, value - 3, value + 3, whole, 1.2 * value))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


LEARNING_COEFFICIENT = Figure(
    name="learning_coefficient",
    title="Learning coefficients",
    columns=_COLUMNS,
    build=_build,
    conclude=_answer,
    group="dimension",
    order=5,
    averages=("seed",),
    apart=("model", "task"),
    caption=(
        "The learning coefficient λ estimated by Langevin dynamics about a solution (95 % interval over chains), "
        "beside the closed form of reduced-rank regression, half the effective dimension N(γ) of the curvature there, "
        "and half of the number of parameters, which is λ of a regular model."
    ),
    reading=(
        "λ counts, in halves, the directions that a posterior at this number of examples sees. An estimate on its open "
        "diamond is right; a LoRA far below its diamond does not need all of its ranks. Where it lies on the triangle "
        "the valley is as good as quadratic; below it, the loss is flat to high order or along a curve. The distance "
        "to d/2 is what counting parameters overstates."
    ),
    source=(LAU_2023, AOYAGI_2005),
    example=_example,
)
