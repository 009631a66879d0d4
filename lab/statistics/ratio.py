"""Interval of a ratio of two means, such as the share of a gain that is kept over many tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, nan, sqrt

from lab.deferred import numpy as np
from lab.deferred import pandas as pd
from lab.statistics.interval import LEVEL, Interval, at_any_level, finite
from lab.statistics.quantiles import student_t


@at_any_level
def ratio_interval(numerators: Sequence[float], denominators: Sequence[float], level: float = LEVEL) -> Interval:
    """θ = E a/E g of independent pairs (a_i, g_i), such as tasks: what Student's t does not reject of a − θg.

    Fieller 1954: {θ : |ā − θḡ| ≤ t_{n−1}·√(v(a − θg)/n)} is exact for normal pairs, however a and g are correlated. The
    estimate Σa/Σg weighs a unit by its denominator. The mean of the ratios a_i/g_i has no such meaning where a g_i is
    small beside its own noise, and to leave these units out is to choose on the data that judge (docs/statistics.md).
    At θ = 0 it is the paired t test of the numerators, where ḡ is above 0 for sure.

    E g > 0 is supposed: θ lies above θ₀ iff E(a − θ₀g) > 0. Where ḡ is not above 0 for sure, the test rejects an
    interval of θ₀ on one side of θ at most: what lies beyond is rejected with it, and nothing bounds θ on the other.

    Args:
        numerators, denominators: (n,), one pair per independent unit.
        level: confidence.

    Returns:
        The interval with n the number of units; open for a single one, and where ḡ ≤ 0: then there is nothing to take a
        share of, and the estimate is nan.

    Raises:
        ValueError: sequences of different length, none, or a value that is not finite.

    Example:
        >>> ratio_interval([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]).estimate
        0.5
    """
    a, g = finite(numerators), finite(denominators)
    if len(a) != len(g):
        raise ValueError(f"a ratio of means needs pairs; got {len(a)} numerators and {len(g)} denominators.")
    n, mean = len(a), float(g.mean())
    theta = float(a.mean()) / mean if mean > 0 else nan
    if n == 1 or not mean > 0:
        return Interval(theta, -inf, inf, n)
    rest = a - theta * g  # of mean 0: with θ + φ the bound is ḡ²φ² ≤ t²(v(rest) − 2φ c(rest, g) + φ² v(g))/n
    (v_rest, covariance), (_, v_g) = np.cov(rest, g) * student_t((1 + level) / 2, n - 1) ** 2 / n
    a2, a1, a0 = mean**2 - float(v_g), float(covariance), float(v_rest)  # not rejected: a2·φ² + 2·a1·φ ≤ a0
    if a2 == 0 or a1**2 + a2 * a0 < 0:
        return Interval(theta, -inf, inf, n)
    roots = sorted((-a1 + side * sqrt(a1**2 + a2 * a0)) / a2 for side in (-1, 1))
    if a2 > 0:
        return Interval(theta, theta + min(roots[0], 0.0), theta + max(roots[1], 0.0), n)
    below = roots[1] < 0  # what lies between the roots is rejected, from one side
    return Interval(theta, theta + roots[1] if below else -inf, inf if below else theta + roots[0], n)


Parts = Mapping[str, tuple[float, float]]
"""Unit -> numerator and denominator."""


def parts_of(kept: pd.Series, whole: pd.Series) -> Parts:
    """Pairs of two columns over the same units, those of the first."""
    return {str(unit): (float(a), float(g)) for unit, a, g in zip(kept.index, kept, whole.loc[kept.index], strict=True)}


def share_interval(parts: Parts) -> Interval:
    """`ratio_interval` over named units, such as task -> (what is kept of its gain, its gain).

    Raises:
        ValueError: no unit, or a value that is not finite.
    """
    return ratio_interval([kept for kept, _ in parts.values()], [whole for _, whole in parts.values()])
