"""When does a growing norm pass a threshold? Read off where it was measured, or extrapolated as a power law."""

from __future__ import annotations

from math import inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def first_passage(times: ArrayLike, values: ArrayLike, level: float) -> float:
    """The first time at which the values have reached a level, interpolated between neighbours on log-log axes.

    Args:
        times: (n,), positive and increasing; steps, step sizes.
        values: (n,), >= 0.
        level: > 0.

    Returns:
        The time; `times[0]` if the level is reached from the first on; inf if it never is.

    Raises:
        ValueError: lengths differ, times do not increase from above 0, or the level is not positive.
    """
    t, v = _checked(times, values, level)
    reached = np.flatnonzero(v >= level)
    if not len(reached):
        return inf
    i = int(reached[0])
    if i == 0 or v[i - 1] == 0:
        return float(t[i])
    share = np.log(level / v[i - 1]) / np.log(v[i] / v[i - 1])
    return float(np.exp(np.log(t[i - 1]) + share * np.log(t[i] / t[i - 1])))


def extrapolated_passage(times: ArrayLike, values: ArrayLike, level: float) -> float:
    """The time at which c·t^a, fitted to the values by least squares on log-log axes, reaches a level.

    Args:
        times, values, level: as for `first_passage`; values of 0 (before the first step) are left out. One value alone
            is taken to grow in proportion to time, a = 1.

    Returns:
        The time; inf if the values do not grow or all are 0.
    """
    t, v = _checked(times, values, level)
    x, y = np.log(t[v > 0]), np.log(v[v > 0])
    if not len(x):
        return inf
    a = 1.0 if len(x) == 1 else float(np.polyfit(x - x.mean(), y, 1)[0])
    if a <= 0:
        return inf
    log_time = x.mean() + (np.log(level) - y.mean()) / a
    return float(np.exp(log_time)) if log_time < np.log(np.finfo(float).max) else inf


def _checked(times: ArrayLike, values: ArrayLike, level: float) -> tuple[Array, Array]:
    t, v = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if t.ndim != 1 or t.shape != v.shape or not len(t):
        raise ValueError(f"times and values must be vectors of one length >= 1; got shapes {t.shape} and {v.shape}.")
    if not (t[0] > 0 and (np.diff(t) > 0).all()) or not level > 0 or not (v >= 0).all():
        raise ValueError(
            f"times must increase from above 0, values be >= 0 and the level > 0; got times {t}, values {v} and level "
            f"{level}."
        )
    return t, v
