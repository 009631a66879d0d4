"""Where a curve that cannot fall reaches a line, with an interval: both are measured, and both are noisy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, sqrt

from lab.deferred import numpy as np
from lab.statistics.interval import LEVEL
from lab.statistics.monotone import monotone_fit, reached_at
from lab.statistics.quantiles import student_t

WIDEST_SEGMENT = 2.05
"""Largest ratio of neighbouring x between which the lower end of an interval is read off a straight line.

A saturating curve lies above its chord, by a share that grows as the square of log of this ratio; at 2 it is small
beside the noise of two to five runs, at 4 it is not (docs/intrinsic_dimension.md). The 0.05 is for rounded x.
"""

OWN_VARIANCE = 4
"""From this many runs on, an x has the variance of its own runs; below, that of all runs pooled."""


def pooled_variance(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Variance within groups that are taken to share it, Σ_g Σ (x − x̄_g)²/ν, and its ν = Σ (n_g − 1); NaN for ν = 0."""
    freedom = sum(len(values) - 1 for values in groups)
    squares = sum(float(((np.asarray(values) - np.mean(values)) ** 2).sum()) for values in groups)
    return (squares / freedom if freedom else float("nan")), freedom


def crossing_interval(
    scores: Mapping[int, Sequence[float]],
    baseline: Sequence[float],
    *,
    fraction: float = 1.0,
    floor: float = 0.0,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Interval of the x at which the expected score reaches floor + fraction·(E baseline − floor).

    The x that no test rejects (Fieller 1954 inverts the same test for a ratio). At every measured x the monotone fit m
    is compared with the line ℓ: |m − ℓ| ≤ t·√(s²/n + fraction²·s_b²/n_b), with s² the variance of the n runs there, or
    pooled over all x where they are fewer than `OWN_VARIANCE`, s_b² that of the baseline, and t of Welch's and
    Satterthwaite's degrees of freedom. Both bounds m ± t·(…) are joined by straight lines in log x. The low end is
    where the upper bound reaches ℓ, the high end where the lower one leaves it, and both lie outside the two neighbours
    between which the fit itself crosses, since nothing was measured there. Coming from far below and from far above, a
    false rejection at one x is what it takes to miss the truth: no correction for their number is needed.

    Args:
        scores: x > 0 -> scores of independent runs there, one or more; higher is better.
        baseline: independent scores; a single one is taken to have the variance of the runs.
        fraction, floor: of the line.
        level: confidence.

    Returns:
        (low, high): 0 where even the smallest x is not below the line for sure, inf where even the largest is not
        above it. (0, inf) where no x has two runs: one value bounds nothing.

    Warning:
        Joining by straight lines supposes that the curve saturates above the line (a chord then lies below it) and is
        smooth over a factor of `WIDEST_SEGMENT` below it; in wider segments the low end is the last x that was
        rejected. Simulated coverage: docs/intrinsic_dimension.md.
    """
    x = np.array(sorted(scores), float)
    groups = [scores[place] for place in sorted(scores)]
    counts = np.array([len(values) for values in groups], float)
    variance, freedom = pooled_variance(groups)
    if not freedom:
        return 0.0, inf
    line = floor + fraction * (float(np.mean(baseline)) - floor)
    fitted = monotone_fit([np.mean(values) for values in groups], counts)
    half = np.array([_half_width(values, variance, freedom, baseline, fraction, level) for values in groups])
    lower = np.minimum.accumulate((fitted - half)[::-1])[::-1]  # from above, until the first x that is not above ℓ
    left, right = bracket(x, fitted, line)
    return min(_low(x, fitted + half, line), left), max(_high(x, lower, line), right)


def bracket(x: np.ndarray, fitted: np.ndarray, line: float) -> tuple[float, float]:
    """The neighbours among x between which the fit reaches the line; 0 and inf stand for those beyond the ends."""
    reaching = np.flatnonzero(fitted >= line)
    if not len(reaching):
        return float(x[-1]), inf
    i = int(reaching[0])
    return (float(x[i - 1]) if i else 0.0), float(x[i])


def _half_width(
    values: Sequence[float], pooled: float, freedom: int, baseline: Sequence[float], fraction: float, level: float
) -> float:
    """t·standard error of the mean at one x minus the line, (Σ v)² / Σ v²/ν degrees of freedom."""
    n = len(values)
    at_x = (float(np.var(values, ddof=1)) / n, n - 1) if n >= OWN_VARIANCE else (pooled / n, freedom)
    k = len(baseline)
    of_line = (float(np.var(baseline, ddof=1)) / k, k - 1) if k > 1 else (pooled, freedom)
    parts = [at_x, (fraction**2 * of_line[0], of_line[1])]
    total = sum(v for v, _ in parts)
    if total == 0:
        return 0.0
    return student_t((1 + level) / 2, total**2 / sum(v**2 / nu for v, nu in parts)) * sqrt(total)


def _low(x: np.ndarray, upper: np.ndarray, line: float) -> float:
    reaching = np.flatnonzero(upper >= line)
    if not len(reaching):
        return float(x[-1])
    i = int(reaching[0])
    if i == 0:
        return 0.0
    found = reached_at(x, upper, line)
    return float(x[i - 1]) if x[i] / x[i - 1] > WIDEST_SEGMENT or found is None else found


def _high(x: np.ndarray, lower: np.ndarray, line: float) -> float:
    found = reached_at(x, lower, line)
    return inf if found is None else found
