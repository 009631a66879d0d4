"""Intervals of a share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.statistics.interval import LEVEL, Interval, at_any_level, finite
from lab.statistics.means import mean_interval
from lab.statistics.quantiles import beta


@at_any_level
def proportion_interval(successes: int, n: int, level: float = LEVEL) -> Interval:
    """The exact binomial interval of a share of n independent trials (Clopper & Pearson 1934).

    Raises:
        ValueError: no trial, or not 0 ≤ successes ≤ n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"a proportion needs 0 <= successes <= n with n >= 1; got {successes} of {n}.")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else beta(tail, successes, n - successes + 1)
    high = 1.0 if successes == n else beta(1 - tail, successes + 1, n - successes)
    return Interval(successes / n, low, high, n)


@at_any_level
def clustered_proportion(groups: Mapping[Any, Sequence[float]], level: float = LEVEL) -> Interval:
    """Interval of the mean share of groups drawn at random, such as the targets forced after each text.

    Trials of one group are no independent trials. Student's t over the shares of the groups, within [0, 1]. A group's
    share has steps of 1 over its trials; few groups that agree do not agree for sure, and their variance is at least
    that of groups of which one lies two steps off (one does not suffice for four groups: found by simulation).

    Args:
        groups: name -> trials of 0 and 1.
        level: confidence.

    Raises:
        ValueError: no group, or one without trials.
    """
    shares = [float(finite(trials).mean()) for trials in groups.values()]
    found = mean_interval(shares, level, resolution=2 / min(map(len, groups.values())) if groups else 0.0)
    return Interval(found.estimate, max(0.0, found.low), min(1.0, found.high), found.n)
