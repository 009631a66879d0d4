"""An estimate with its confidence interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

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


def finite(values: Sequence[float]) -> np.ndarray:
    """Numbers as a vector.

    Raises:
        ValueError: none, or one that is not finite.
    """
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or len(x) == 0 or not all(isfinite(value) for value in x):
        raise ValueError(f"an interval needs one finite number or more; got {list(values)}.")
    return x
