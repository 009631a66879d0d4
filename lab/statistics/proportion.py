"""The interval of a share."""

from __future__ import annotations

from lab.statistics.interval import LEVEL, Interval
from lab.statistics.quantiles import beta


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
