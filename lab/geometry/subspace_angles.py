"""Principal angles between the leading singular subspaces of two matrices, beside those of random subspaces."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from lab.geometry.subspace_similarity import Side, leading_vectors
from lab.linalg import LowRank, Spectrum, principal_angles, random_angle_band


def subspace_angles(
    A: Tensor | LowRank | Spectrum,
    B: Tensor | LowRank | Spectrum,
    k: int,
    *,
    side: Side = "right",
    confidence: float = 0.95,
    n_samples: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Principal angles of the spans of the k leading singular vectors, with the pointwise band of random k-subspaces.

    Σ cos²θ_i = k·φ(A, B, k, k) of `subspace_similarity`: the angles say how the overlap is shared out. One angle below
    the band is one shared direction; all below it a shared subspace.

    Args:
        A, B: matrices, products kept as factors, or spectra with vectors, equal in the compared dimension.
        k: dimension of the subspaces; less where a matrix has a smaller rank.
        side: "right" (inputs) or "left" (outputs).
        confidence: of the band.
        n_samples: pairs of random subspaces drawn for it.
        seed: of these draws.

    Returns:
        One row per angle: index (from 1), angle, null_low, null_high, all in degrees; no row for a zero matrix.

    Raises:
        ValueError: k < 1, unknown side, different dimensions, or a spectrum without vectors.
    """
    if k < 1:
        raise ValueError(f"k must be >= 1; got {k}.")
    U, V = leading_vectors(A, side, k), leading_vectors(B, side, k)
    if U.shape[0] != V.shape[0]:
        raise ValueError(f"the {side} singular vectors live in R^{U.shape[0]} and R^{V.shape[0]}; try the other side.")
    columns = ["index", "angle", "null_low", "null_high"]
    if not U.shape[1] or not V.shape[1]:
        return pd.DataFrame(columns=columns, dtype=float)
    angles = np.degrees(principal_angles(U, V).cpu().numpy())
    low, high = _band(U.shape[0], U.shape[1], V.shape[1], confidence, n_samples, seed)
    return pd.DataFrame(
        {"index": np.arange(1, len(angles) + 1), "angle": angles, "null_low": low, "null_high": high}, columns=columns
    )


@lru_cache(maxsize=64)
def _band(
    n: int, k: int, l: int, confidence: float, n_samples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = random_angle_band(n, k, l, confidence=confidence, n_samples=n_samples, generator=seed)
    return np.degrees(low.numpy()), np.degrees(high.numpy())
