"""An estimate with its confidence interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from inspect import signature
from math import exp, inf, isfinite, log
from typing import Literal, ParamSpec

from lab.deferred import numpy as np

LEVEL = 0.95
"""Confidence of an interval where nothing else is said."""


P = ParamSpec("P")

SMALLEST_P = 1e-9
"""p values are not told apart below it."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; ends are infinite where the data bound nothing.

    Attributes:
        estimate: the best guess.
        low, high: ends.
        n: independent units behind it.
        at: the interval of the same data at another confidence; None where there is none, as of a bound's worst case.
    """

    estimate: float
    low: float
    high: float
    n: int
    at: Callable[[float], Interval] | None = field(default=None, compare=False, repr=False)

    def p_value(self, value: float) -> float:
        """Two-sided p of a value: 1 − the largest confidence at which the interval leaves it out, at least 1e-9.

        The test that belongs to the interval: p < 1 − level iff the interval at that level leaves the value out.

        Raises:
            ValueError: an interval that is known at one confidence only.
        """
        if self.at is None:
            raise ValueError("an interval that is known at one confidence has no p value; it needs `at`.")
        low, high = log(SMALLEST_P), 0.0
        if self._leaves_out(value, SMALLEST_P):
            return SMALLEST_P
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (low, middle) if self._leaves_out(value, exp(middle)) else (middle, high)
        return exp(high)

    def scaled(self, factor: float) -> Interval:
        """The interval of factor·x, for a positive factor.

        Raises:
            ValueError: a factor that is not positive.
        """
        if not factor > 0:
            raise ValueError(f"an interval is scaled by a positive factor; got {factor}.")
        return mapped(self, lambda x: Interval(factor * x.estimate, factor * x.low, factor * x.high, x.n))

    def _leaves_out(self, value: float, p: float) -> bool:
        found = self.at(1 - p) if self.at is not None else self
        return value < found.low or value > found.high


def at_any_level(made: Callable[P, Interval]) -> Callable[P, Interval]:
    """A function of data and ``level`` whose intervals know themselves at every other level."""
    names = signature(made)

    @wraps(made)
    def whole(*args: P.args, **kwargs: P.kwargs) -> Interval:
        given = names.bind(*args, **kwargs)

        def again(level: float) -> Interval:
            given.arguments["level"] = level
            return made(*given.args, **given.kwargs)

        found = made(*args, **kwargs)
        return replace(found, at=again)

    return whole


def mapped(x: Interval, change: Callable[[Interval], Interval]) -> Interval:
    """A change of an interval, at every level at which it is known."""
    at = x.at
    return replace(change(x), at=None if at is None else lambda level: change(at(level)))


def unbounded(x: Interval) -> Interval:
    """The same estimate where nothing bounds it."""
    return mapped(x, lambda y: Interval(y.estimate, -inf, inf, y.n))


def absolute(x: Interval) -> Interval:
    """The interval of |x|: all values that numbers of the interval have without their sign."""
    return mapped(x, _absolute)


def _absolute(x: Interval) -> Interval:
    low = 0.0 if x.low <= 0 <= x.high else min(abs(x.low), abs(x.high))
    return Interval(abs(x.estimate), low, max(abs(x.low), abs(x.high)), x.n)


def worst_case(values: Sequence[float], side: Literal["below", "above"] = "below") -> Interval:
    """The value that is worst for a bound, without sampling error: one violation breaks the bound.

    Args:
        values: what the bound is to hold for.
        side: where they are to lie: of a bound from above the largest is worst, of one from below the smallest.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    x = finite(values)
    worst = float(x.max() if side == "below" else x.min())
    return Interval(worst, worst, worst, len(x))


def at_resolution(x: Interval, resolution: float) -> Interval:
    """An interval no narrower than the metric can tell: half a step of it on either side of the estimate, at least.

    Args:
        x: the interval.
        resolution: the metric's step, such as 1/n of an accuracy over n examples.
    """
    half = resolution / 2

    def widened(y: Interval) -> Interval:
        return Interval(y.estimate, min(y.low, y.estimate - half), max(y.high, y.estimate + half), y.n)

    return mapped(x, widened)


@at_any_level
def least_of(intervals: Mapping[str, Interval], level: float = LEVEL) -> Interval:
    """Interval of the smallest of several quantities, whichever it is: what "every one is above" has to be judged by.

    To take the smallest estimate and judge it by its own interval is to choose on the data that judge. Here low =
    min_i low_i, and high = min_i high_i with the tails of the high ends shared out among the m quantities: 1 − level
    becomes (1 − level)/m. Of the true smallest, low fails as its own interval does, and high fails only where one of
    m ends does (Bonferroni): no dependence between them is supposed (Berger 1982 for the low end).

    Args:
        intervals: name -> interval, known at every level.
        level: confidence.

    Returns:
        The interval with n the smallest number of units.

    Raises:
        ValueError: no interval, or one that is known at one confidence only.
    """
    known = {name: x.at for name, x in intervals.items()}
    ends = [at for at in known.values() if at is not None]
    if not ends or len(ends) < len(known):
        raise ValueError(f"the least of several needs intervals known at every level; got {list(known)}.")
    low = min(at(level).low for at in ends)
    high = min(at(1 - (1 - level) / len(ends)).high for at in ends)
    estimate = min(x.estimate for x in intervals.values())
    return Interval(estimate, min(low, estimate), max(high, estimate), min(x.n for x in intervals.values()))


def greatest_of(intervals: Mapping[str, Interval], level: float = LEVEL) -> Interval:
    """Interval of the largest of several quantities, whichever it is: minus the `least_of` of what is minus them.

    Such as what the best of several orders gains: its own interval was chosen on the data that judge it, and to choose
    on all seeds but one and judge on that one makes values that are not independent, since every choice shares them.

    Args:
        intervals: name -> interval, known at every level.
        level: confidence.

    Raises:
        ValueError: no interval, or one that is known at one confidence only.
    """
    return _negative(least_of({name: _negative(x) for name, x in intervals.items()}, level))


def _negative(x: Interval) -> Interval:
    return mapped(x, lambda y: Interval(-y.estimate, -y.high, -y.low, y.n))


def finite(values: Sequence[float]) -> np.ndarray:
    """Numbers as a vector.

    Raises:
        ValueError: none, or one that is not finite.
    """
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or len(x) == 0 or not all(isfinite(value) for value in x):
        raise ValueError(f"an interval needs one finite number or more; got {list(values)}.")
    return x
