"""Spearman's rank correlation."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike

from lab.statistics.interval import LEVEL, Interval, finite
from lab.statistics.quantiles import normal


def ranks(values: ArrayLike) -> np.ndarray:
    """1 for the smallest of (n,) values, n for the largest; ties share their mean rank."""
    x = np.asarray(values, float)
    below, upto = (np.searchsorted(np.sort(x), x, side=side) for side in ("left", "right"))
    return (below + upto + 1) / 2


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's ρ, the correlation of the ranks; NaN where one of the two is constant."""
    a, b = (ranks(values) - (len(np.atleast_1d(values)) + 1) / 2 for values in (x, y))
    scale = sqrt(float(a @ a) * float(b @ b))
    return float(np.clip(a @ b / scale, -1, 1)) if scale > 0 else nan


def rank_correlation_interval(x: Sequence[float], y: Sequence[float], level: float = LEVEL) -> Interval:
    """Spearman's ρ with the interval of Bonett & Wright 2000: Fisher's z, variance (1 + ρ²/2)/(n − 3).

    Fewer than four pairs bound nothing; a constant sequence has no correlation (NaN). The interval of ρ = ±1 is that of
    a ρ half a step inside, as a perfect order of few pairs proves no perfect correlation.

    Raises:
        ValueError: sequences of different length, none, or a value that is not finite.
    """
    a, b = finite(x), finite(y)
    if len(a) != len(b):
        raise ValueError(f"a correlation needs pairs; got {len(a)} and {len(b)} values.")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return Interval(nan, -inf, inf, len(a))
    rho = rank_correlation(a, b)
    if len(a) < 4:
        return Interval(rho, -1.0, 1.0, len(a))
    largest = 1 - 6 / (len(a) * (len(a) ** 2 - 1))  # half of the smallest step of ρ below 1, else ±1 would be certain
    z = np.arctanh(np.clip(rho, -largest, largest))
    half = normal((1 + level) / 2) * sqrt((1 + rho * rho / 2) / (len(a) - 3))
    return Interval(rho, min(rho, float(np.tanh(z - half))), max(rho, float(np.tanh(z + half))), len(a))
