"""Spearman's rank correlation."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan, sqrt
from typing import TYPE_CHECKING

from lab.deferred import numpy as np
from lab.statistics.interval import LEVEL, Interval, at_any_level, finite
from lab.statistics.quantiles import normal, student_t

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


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


@at_any_level
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
    z = _fisher(rho, len(a))
    half = normal((1 + level) / 2) * sqrt((1 + rho * rho / 2) / (len(a) - 3))
    return Interval(rho, min(rho, float(np.tanh(z - half))), max(rho, float(np.tanh(z + half))), len(a))


@at_any_level
def stratified_rank_correlation(
    x: Sequence[float], y: Sequence[float], *, strata: Sequence[object], units: Sequence[object], level: float = LEVEL
) -> Interval:
    """Spearman's ρ within strata, of pairs that share units, such as methods ranked within each PLM and task.

    ρ = Σ a b / √(Σ a² Σ b²) with a, b the ranks of x and y within their stratum, minus (n + 1)/2, over its n pairs: 0
    in expectation under independence whatever the sizes of the strata, which pooled ranks are not. The interval is that
    of Fisher's z = artanh ρ by the jackknife over units, t with one degree of freedom less than there are units (Miller
    1974): pairs of one unit may depend on each other as they like. Its standard error is no less than that of as many
    independent pairs, since a perfect order of few units proves no perfect correlation.

    Args:
        x, y: (n,) pairs.
        strata: (n,), what each pair is ranked within.
        units: (n,), what was drawn at random.
        level: confidence.

    Returns:
        The interval with n the number of units; (−1, 1) for fewer than four, ρ NaN where a side is constant.

    Raises:
        ValueError: sequences of different length, none, or a value that is not finite.
    """
    a, b = finite(x), finite(y)
    if not len(a) == len(b) == len(strata) == len(units):
        raise ValueError(
            f"each pair needs a stratum and a unit; got {len(a)} and {len(b)} values, {len(strata)} strata and "
            f"{len(units)} units."
        )
    _, stratum = np.unique(list(map(str, strata)), return_inverse=True)
    names, unit = np.unique(list(map(str, units)), return_inverse=True)
    n, rho = len(names), _within(a, b, stratum)
    left_out = [_within(a[unit != k], b[unit != k], stratum[unit != k]) for k in range(n)]
    if n < 4 or not np.isfinite([rho, *left_out]).all():
        return Interval(rho, *((-inf, inf) if np.isnan(rho) else (-1.0, 1.0)), n)
    z, others = _fisher(rho, n), np.array([_fisher(value, n) for value in left_out])
    jackknife = sqrt((n - 1) / n * float(((others - others.mean()) ** 2).sum()))
    half = student_t((1 + level) / 2, n - 1) * max(jackknife, sqrt((1 + rho * rho / 2) / max(len(a) - 3, 1)))
    return Interval(rho, min(rho, float(np.tanh(z - half))), max(rho, float(np.tanh(z + half))), n)


def _within(x: np.ndarray, y: np.ndarray, stratum: np.ndarray) -> float:
    """ρ of ranks centred and scaled within strata; NaN where one side is constant in all of them."""
    a, b = np.zeros(len(x)), np.zeros(len(y))
    for k in np.unique(stratum):
        own = stratum == k
        n = int(own.sum())
        a[own], b[own] = ((ranks(values[own]) - (n + 1) / 2) / n for values in (x, y))
    scale = sqrt(float(a @ a) * float(b @ b))
    return float(np.clip(a @ b / scale, -1, 1)) if scale > 0 else nan


def _fisher(rho: float, n: int) -> float:
    """artanh ρ, that of ±1 as of a ρ half a step inside for n pairs."""
    largest = 1 - 6 / (n * (n * n - 1))
    return float(np.arctanh(np.clip(rho, -largest, largest)))
