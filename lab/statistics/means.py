"""Intervals of means: of independent values, and of values in fixed groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, sqrt

import numpy as np

from lab.statistics.interval import LEVEL, Interval, finite
from lab.statistics.quantiles import student_t


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Student's t interval of a mean, for independent values such as seeds; one value alone bounds nothing.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    x = finite(values)
    if len(x) == 1:
        return Interval(float(x[0]), -inf, inf, 1)
    half = student_t((1 + level) / 2, len(x) - 1) * float(x.std(ddof=1)) / sqrt(len(x))
    mean = float(x.mean())
    return Interval(mean, mean - half, mean + half, len(x))


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
