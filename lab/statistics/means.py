"""Intervals of means: of independent values, of values in random groups, and of values in fixed groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, sqrt
from typing import Any

from lab.deferred import numpy as np
from lab.statistics.interval import LEVEL, Interval, at_any_level, finite
from lab.statistics.quantiles import student_t


@at_any_level
def mean_interval(values: Sequence[float], level: float = LEVEL, *, resolution: float = 0.0) -> Interval:
    """Student's t interval of a mean, for independent values such as seeds; one value alone bounds nothing.

    Args:
        values: independent: what shares a seed, a run or a task is averaged beforehand (`cluster_interval`).
        level: confidence.
        resolution: step of the metric, 1/n of an accuracy over n examples. The variance is at least resolution²/n, that
            of n values of which one lies a step off: scores that agree by rounding do not agree for sure. Two seeds of
            an accuracy over 64 examples are equal one time in nine.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    x = finite(values)
    if len(x) == 1:
        return Interval(float(x[0]), -inf, inf, 1)
    variance = max(float(x.var(ddof=1)), resolution**2 / len(x))
    half = student_t((1 + level) / 2, len(x) - 1) * sqrt(variance / len(x))
    mean = float(x.mean())
    return Interval(mean, mean - half, mean + half, len(x))


@at_any_level
def cluster_interval(groups: Mapping[Any, Sequence[float]], level: float = LEVEL) -> Interval:
    """Student's t interval of the mean of group means, the groups being what was drawn at random.

    Such as methods that share a seed, or cells that share a method: n is the number of groups. Beside
    `stratified_interval`, whose groups are fixed, it says what other groups would give.

    Args:
        groups: what was random, such as the seed -> the values that share it.
        level: confidence.

    Raises:
        ValueError: no group, one without values, or a value that is not finite.
    """
    return mean_interval([float(finite(values).mean()) for values in groups.values()], level)


@at_any_level
def stratified_interval(groups: Mapping[str, Sequence[float]], level: float = LEVEL) -> Interval:
    """Interval of the mean of group means, the groups being fixed and the values in each independent.

    m = (1/G)·Σ x̄_g with standard error (1/G)·√(Σ s_g²/n_g) and the degrees of freedom of Welch and Satterthwaite,
    (Σ s_g²/n_g)² / Σ (s_g²/n_g)²/(n_g − 1). Such as seeds within tasks: it says what other seeds would give on these
    tasks, nothing about other tasks. A group of one value bounds nothing.

    Args:
        groups: name -> its values.
        level: confidence.

    Raises:
        ValueError: no group, one without values, or a value that is not finite.
    """
    arrays = [finite(values) for values in groups.values()]
    if not arrays:
        raise ValueError("an interval over groups needs one group or more; got none.")
    estimate, n = float(np.mean([x.mean() for x in arrays])), sum(map(len, arrays))
    if min(map(len, arrays)) == 1:
        return Interval(estimate, -inf, inf, n)
    return _joined(estimate, [(float(x.var(ddof=1)) / len(x), len(x) - 1) for x in arrays], n, level)


Pairs = Mapping[tuple[Any, Any], float]
"""(unit, other unit) -> value; not every pair need be there."""


@at_any_level
def pair_interval(groups: Mapping[Any, Pairs], level: float = LEVEL) -> Interval:
    """Interval of a mean over pairs of units, such as the similarity of runs with different seeds, in fixed groups.

    n(n − 1)/2 pairs share n units and are no n(n − 1)/2 independent values. In each group the jackknife over units
    (Arvesen 1969): with m̄_{−i} the mean over the pairs without unit i, s_g² = (n − 1)/n·Σ_i (m̄_{−i} − mean)² with n − 1
    degrees of freedom. The groups, such as PLMs, are weighted alike and joined as in `stratified_interval`.

    Args:
        groups: name -> its pairs, whose units are independent.
        level: confidence.

    Returns:
        The interval with n the number of units of all groups; open where a group has fewer than three.

    Raises:
        ValueError: no group, one without pairs, or a value that is not finite.
    """
    if not groups:
        raise ValueError("an interval over pairs needs one group or more; got none.")
    means, parts, n = [], [], 0
    for pairs in groups.values():
        mean, variance, units = _jackknifed(pairs)
        means.append(mean)
        parts.append((variance, units - 1))
        n += units
    return _joined(float(np.mean(means)), parts, n, level)


def _jackknifed(pairs: Pairs) -> tuple[float, float, int]:
    """Mean over pairs, its jackknife variance (inf where a unit is in all pairs), and the number of units."""
    values = finite(list(pairs.values()))
    units = list(dict.fromkeys(unit for pair in pairs for unit in pair))
    left_out = [[value for pair, value in pairs.items() if unit not in pair] for unit in units]
    if not all(left_out):
        return float(values.mean()), inf, len(units)
    means = np.array([np.mean(rest) for rest in left_out])
    return float(values.mean()), (1 - 1 / len(units)) * float(((means - means.mean()) ** 2).sum()), len(units)


def _joined(estimate: float, parts: Sequence[tuple[float, int]], n: int, level: float) -> Interval:
    """Interval of a mean of independent group means with variances v_g of ν_g degrees of freedom: (v_g, ν_g) each.

    Welch's and Satterthwaite's degrees of freedom, (Σ v_g)²/Σ v_g²/ν_g.
    """
    total = sum(v for v, _ in parts)
    if total == inf or min(freedom for _, freedom in parts) < 1:
        return Interval(estimate, -inf, inf, n)
    if total == 0:
        return Interval(estimate, estimate, estimate, n)
    freedom = total**2 / sum(v**2 / nu for v, nu in parts)
    half = student_t((1 + level) / 2, freedom) * sqrt(total) / len(parts)
    return Interval(estimate, estimate - half, estimate + half, n)
