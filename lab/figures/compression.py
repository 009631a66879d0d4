"""The bound on the true error from a quantised subspace, beside the errors that were measured."""

from __future__ import annotations

import pandas as pd

from lab.columns import columns
from lab.figures.definition import Figure
from lab.figures.grammar import Grid, listed, split
from lab.figures.sources import AGHAJANYAN_2020, LOTFI_2022
from lab.figures.style import Theme, count
from lab.statistics import Answer

_COLUMNS = columns(
    "compression",
    "label",
    "dimension",
    "levels",
    "bits",
    "examples",
    "train_error",
    "held_out_error",
    "majority_error",
    "kl",
    "occam",
    "catoni",
)


def _build(table: pd.DataFrame, theme: Theme) -> Grid:
    """Per PLM and task: a bound for each number of levels along the dimension, and the errors of the trained φ."""
    grid = Grid(theme, wrap=2, height=380, share_y=True)
    for panel, part in grid.by(table, "model", "task", "seed"):
        panel.rule(y=float(part.majority_error.iloc[0]), name="majority class")
        for label, own in split(part.sort_values(["levels", "dimension"]), "label"):
            if (own["levels"] > 0).all():
                hover = "bound %{y:.3f}, %{customdata[0]:,} bits, held out %{customdata[1]:.3f}"
                panel.line(
                    own.dimension, own.kl, f"bound, {label}", colour=grid.colour(label), symbol=grid.symbol(label),
                    hover=hover, data=[own.bits, own.held_out_error],
                )  # fmt: skip
        exact = part[part["levels"] == 0].sort_values("dimension")
        for column, name, dash in (("held_out_error", "held out", "dash"), ("train_error", "training", "dot")):
            panel.line(exact.dimension, exact[column], f"error, {name}", colour=theme.ink, dash=dash, symbol="cross")
    return grid.x("dimension of the subspace [count]", log=True).y("error [fraction]", range=(0, 1.02))


def _answer(table: pd.DataFrame) -> Answer:
    """Per PLM, task and seed: the smallest bound, where it is, and what was measured there."""
    rows, told = [], []
    for place, part in split(table, "model", "task", "seed"):
        coded = part[part["levels"] > 0] if (part["levels"] > 0).any() else part
        best = coded.sort_values("kl", kind="stable").iloc[0]
        row = {"place": place, "dimension [count]": int(best.dimension), "levels [count]": int(best["levels"])}
        row |= {"description [bit]": int(best.bits), "examples [count]": int(best.examples)}
        row |= {"training error": float(best.train_error), "held-out error": float(best.held_out_error)}
        row |= {"kl bound": float(best.kl), "Occam's bound": float(best.occam), "Catoni's bound": float(best.catoni)}
        rows.append(row | {"majority error": float(best.majority_error)})
        told.append(
            f"{place}: {best.kl:.2f} (d = {count(best.dimension)}, {count(best.bits)} bits; measured "
            f"{best.held_out_error:.2f}, majority {best.majority_error:.2f})"
        )
    return Answer(listed("Smallest bound on the error that holds with probability 0.95", told), pd.DataFrame(rows))


def _example() -> pd.DataFrame:
    """Made-up: errors fall with the dimension, bits grow with it, and the bound is least in between."""
    rows = []
    for dimension, wrong in ((25, 0.34), (100, 0.24), (400, 0.18), (1600, 0.15)):
        for n_levels in (0, 3, 7):
            bits = int(dimension * (32, 1.4, 2.5)[(0, 3, 7).index(n_levels)]) + 30 * n_levels
            error = wrong + (0.03 if n_levels == 3 else 0.0)
            bound = min(1.0, error + (0.35 * bits / 6800) ** 0.5)
            label = f"{n_levels} levels" if n_levels else "float32"
            rows.append((label, dimension, n_levels, bits, 6800, error, error + 0.02, 0.5, bound, bound + 0.02,
                         bound + 0.01, "minilm", "rotten-tomatoes", 0))  # fmt: skip
    return pd.DataFrame(rows, columns=[*_COLUMNS, "model", "task", "seed"])


COMPRESSION = Figure(
    name="compression",
    title="Compression bound and measured error",
    columns=_COLUMNS,
    optional=columns("compression", "model", "task", "seed"),
    build=_build,
    conclude=_answer,
    group="dimension",
    order=4,
    caption=(
        "Upper bounds, at 95 % confidence, on the error of a PLM trained in a random subspace, from its training "
        "error and the number of bits that write its quantised coordinates, against the dimension; beside them the "
        "training and held-out error that were measured, and the error of the most frequent class."
    ),
    reading=(
        "Where a bound lies below the dotted line, the few numbers that training found are proof, from the training "
        "examples alone, that it learned something that holds for new ones. Left of the minimum a subspace is too "
        "small to learn, right of it the description is too long for so many examples. The distance between the bound "
        "and the dashed line is what the argument gives away; it does not mean that the classifier is that bad."
    ),
    source=(LOTFI_2022, AGHAJANYAN_2020),
    example=_example,
)  # fmt: skip
