"""Intervals of means: of independent values, of values in random groups, and of values in fixed groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, sqrt

import numpy as np

from lab.statistics.interval import LEVEL, Interval, finite
from lab.statistics.quantiles import student_t


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


def cluster_interval(groups: Mapping[object, Sequence[float]], level: float = LEVEL) -> Interval:
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
    parts = np.array([x.var(ddof=1) / len(x) for x in arrays])
    if parts.sum() == 0:
        return Interval(estimate, estimate, estimate, n)
    freedom = parts.sum() ** 2 / np.sum(parts**2 / [len(x) - 1 for x in arrays])
    half = student_t((1 + level) / 2, float(freedom)) * sqrt(float(parts.sum())) / len(arrays)
    return Interval(estimate, estimate - half, estimate + half, n)


def pair_interval(pairs: Mapping[tuple[object, object], float], level: float = LEVEL) -> Interval:
    """Interval of the mean over pairs of n independent units, such as the similarity of runs with different seeds.

    n(n − 1)/2 pairs share n units and are no n(n − 1)/2 independent values. The jackknife over units (Arvesen 1969):
    with m̄_{−i} the mean over the pairs without unit i, s² = (n − 1)/n·Σ_i (m̄_{−i} − mean)², and Student's t with
    n − 1 degrees of freedom.

    Args:
        pairs: (unit, other unit) -> value; not every pair need be there.
        level: confidence.

    Returns:
        The interval with n the number of units; open where fewer than three are there.

    Raises:
        ValueError: no pair, or a value that is not finite.
    """
    values = finite(list(pairs.values()))
    units = list(dict.fromkeys(unit for pair in pairs for unit in pair))
    mean, n = float(values.mean()), len(units)
    left_out = [[value for pair, value in pairs.items() if unit not in pair] for unit in units]
    if n < 3 or not all(left_out):
        return Interval(mean, -inf, inf, n)
    means = np.array([np.mean(rest) for rest in left_out])
    half = student_t((1 + level) / 2, n - 1) * sqrt((n - 1) / n * float(((means - means.mean()) ** 2).sum()))
    return Interval(mean, mean - half, mean + half, n)
