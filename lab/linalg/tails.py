"""Power-law tails of a sample: maximum likelihood with a Kolmogorov–Smirnov choice of where the tail begins."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class PowerLawTail:
    """p(x) ∝ x^−α for x ≥ x_min.

    Attributes:
        alpha: the exponent, > 1.
        standard_error: of alpha, (α − 1)/√n_tail (Clauset et al., eq. 3.2).
        x_min: where the tail begins; one of the sample's values.
        n_tail: points in the tail.
        distance: Kolmogorov–Smirnov distance between the tail and the fit.
    """

    alpha: float
    standard_error: float
    x_min: float
    n_tail: int
    distance: float


def power_law_tail(values: ArrayLike, *, min_tail: int = 50) -> PowerLawTail | None:
    """The power law of the largest values (Clauset, Shalizi & Newman 2009, sections 3.1 and 3.3).

    α = 1 + n_tail/Σ ln(x_i/x_min), with x_min the value that minimises the Kolmogorov–Smirnov distance.

    A fit exists for any sample: it says nothing about whether the tail is a power law. Compare `distance` with that of
    the null's fit.

    Args:
        values: a sample; only its positive values count.
        min_tail: least number of points in a tail. Default 50, below which the estimate is not to be trusted (their
            section 3.5).

    Returns:
        None when fewer than min_tail positive values exist, or all values of every admissible tail are equal.

    Raises:
        ValueError: a value is not finite, or min_tail < 2.
    """
    if min_tail < 2:
        raise ValueError(f"min_tail must be >= 2; got {min_tail}.")
    x = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(x).all():
        raise ValueError(f"a tail fit needs finite values; {(~np.isfinite(x)).sum()} of {x.size} are not.")
    x = np.sort(x[x > 0])
    logs = np.log(x)
    best: PowerLawTail | None = None
    for first in range(len(x) - min_tail + 1):
        if first and x[first] == x[first - 1]:
            continue  # the tail of a value holds all its copies
        tail = logs[first:] - logs[first]
        n = len(tail)
        total = float(tail.sum())
        if total <= 0:
            continue
        rate = n / total  # α − 1
        model = -np.expm1(-rate * tail)
        steps = np.arange(n + 1) / n
        distance = float(max((steps[1:] - model).max(), (model - steps[:-1]).max()))
        if best is None or distance < best.distance:
            best = PowerLawTail(1 + rate, rate / sqrt(n), float(x[first]), n, distance)
    return best
