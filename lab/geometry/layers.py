"""Hidden states layer by layer: their dimensions, and how alike the layers of two PLMs are, as tables."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from lab.geometry.representation import (
    CALIBRATED,
    ESTIMATORS,
    calibration,
    linear_cka,
    read_against,
    representation_dimension,
    shuffled_cka,
)


def layer_dimensions(states: dict[str, list[Tensor]]) -> pd.DataFrame:
    """One row per kind of weights, layer and estimator: the dimension and its interval, and the dimension of the
    Gaussian cloud of which the estimator says the same at this n (`gaussian`; infinite where it says nothing more).

    Args:
        states: kind of weights -> hidden states of each layer, (sentences, hidden).
    """
    rows = []
    for label, layers in states.items():
        for i, X in enumerate(layers):
            share = first_share(X)
            for estimator in ESTIMATORS:
                found = representation_dimension(X, estimator)
                rows.append(
                    {"label": label, "layer": i, "estimator": estimator, "dimension": found.dimension,
                     "gaussian": read_against(found.dimension, found.n_points, estimator),
                     "low": found.low, "high": found.high, "n_points": found.n_points, "hidden": X.shape[1],
                     "first_share": share}
                )  # fmt: skip
    return pd.DataFrame(rows)


def calibration_table(dimensions: pd.DataFrame) -> pd.DataFrame:
    """What the estimators say of Gaussian clouds of as many points: estimator, n_points, true, said.

    Args:
        dimensions: of `layer_dimensions`.
    """
    used = dimensions[["estimator", "n_points"]].drop_duplicates().itertuples(index=False)
    rows = [
        {"estimator": estimator, "n_points": n, "true": true, "said": said}
        for estimator, n in used
        for true, said in zip(CALIBRATED, calibration(int(n), estimator), strict=True)
    ]
    return pd.DataFrame(rows)


def first_share(X: Tensor) -> float:
    """Share of the variance that the first principal component holds: near 1 where one channel is massive."""
    squares = torch.linalg.svdvals((X - X.mean(dim=0)).double()).square()
    return float(squares[0] / squares.sum())


def layer_alignment(base: list[Tensor], layers: list[Tensor], label: str) -> pd.DataFrame:
    """CKA of every pair of layers, and the largest value that shuffling the sentences gives."""
    rows = [
        {"label": label, "base_layer": i, "layer": j, "cka": linear_cka(X, Y),
         "shuffled": float(shuffled_cka(X, Y, n_shuffles=5).max())}
        for i, X in enumerate(base)
        for j, Y in enumerate(layers)
    ]  # fmt: skip
    return pd.DataFrame(rows)
