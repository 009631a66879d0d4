"""An estimate with its confidence interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from lab.deferred import numpy as np

LEVEL = 0.95
"""Confidence of an interval where nothing else is said."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; ends are infinite where the data bound nothing."""

    estimate: float
    low: float
    high: float
    n: int


def absolute(x: Interval) -> Interval:
    """The interval of |x|: all values that numbers of the interval have without their sign."""
    low = 0.0 if x.low <= 0 <= x.high else min(abs(x.low), abs(x.high))
    return Interval(abs(x.estimate), low, max(abs(x.low), abs(x.high)), x.n)


def worst_case(values: Sequence[float]) -> Interval:
    """The largest of values that a bound is to hold for, without sampling error: one violation breaks the bound.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    x = finite(values)
    largest = float(x.max())
    return Interval(largest, largest, largest, len(x))


def at_resolution(x: Interval, resolution: float) -> Interval:
    """An interval no narrower than the metric can tell: half a step of it on either side of the estimate, at least.

    Args:
        x: the interval.
        resolution: the metric's step, such as 1/n of an accuracy over n examples.
    """
    half = resolution / 2
    return Interval(x.estimate, min(x.low, x.estimate - half), max(x.high, x.estimate + half), x.n)


def finite(values: Sequence[float]) -> np.ndarray:
    """Numbers as a vector.

    Raises:
        ValueError: none, or one that is not finite.
    """
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or len(x) == 0 or not all(isfinite(value) for value in x):
        raise ValueError(f"an interval needs one finite number or more; got {list(values)}.")
    return x
