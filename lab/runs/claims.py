"""Claims of the literature, and the verdict that records give on them: holds here, does not, or cannot tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan, sqrt
from typing import Literal

import numpy as np
from scipy import stats

Answer = Literal["holds here", "does not hold here", "cannot tell"]
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; ends are infinite where the data bound nothing."""

    estimate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Verdict:
    """What measurements say of one claim.

    The claim is that a quantity lies above (or below) a threshold. It holds here when its whole interval does, does
    not when the whole interval lies on the other side, and otherwise the measurements cannot tell.

    Args:
        claim: the statement, in one sentence.
        source: who says so.
        quantity: what was measured, with its unit.
        measured: estimate and interval.
        threshold: what separates true from false.
        side: on which side of the threshold the claim puts the quantity.
        setting: models, tasks, methods and seeds the measurement covers.
        figure: name of the figure that shows it.
        number: of the claim of the source text it belongs to (`lab.source_claims`); None: it belongs to none.
        commands: what made the records; `lab.execution.experiment.verdicts_of` fills it in.
    """

    claim: str
    source: str
    quantity: str
    measured: Interval
    threshold: float
    side: Literal["above", "below"]
    setting: str
    figure: str
    number: int | None = None
    commands: tuple[str, ...] = ()

    @property
    def answer(self) -> Answer:
        """The verdict in words."""
        low, high = self.measured.low - self.threshold, self.measured.high - self.threshold
        if self.side == "below":
            low, high = -high, -low
        if low > 0:
            return "holds here"
        return "does not hold here" if high < 0 else "cannot tell"


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Student's t interval of a mean, for independent values such as seeds; one value alone bounds nothing.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    x = _finite(values)
    if len(x) == 1:
        return Interval(float(x[0]), -inf, inf, 1)
    half = float(stats.t.ppf((1 + level) / 2, len(x) - 1)) * float(x.std(ddof=1)) / sqrt(len(x))
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
    arrays = [_finite(values) for values in groups.values()]
    if not arrays:
        raise ValueError("an interval over groups needs one group or more; got none.")
    estimate, n = float(np.mean([x.mean() for x in arrays])), sum(map(len, arrays))
    if min(map(len, arrays)) == 1:
        return Interval(estimate, -inf, inf, n)
    parts = np.array([x.var(ddof=1) / len(x) for x in arrays])
    if parts.sum() == 0:
        return Interval(estimate, estimate, estimate, n)
    freedom = parts.sum() ** 2 / np.sum(parts**2 / [len(x) - 1 for x in arrays])
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * sqrt(float(parts.sum())) / len(arrays)
    return Interval(estimate, estimate - half, estimate + half, n)


def proportion_interval(successes: int, n: int, level: float = LEVEL) -> Interval:
    """The exact binomial interval of a share of n independent trials (Clopper & Pearson 1934).

    Raises:
        ValueError: no trial, or not 0 ≤ successes ≤ n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"a proportion needs 0 <= successes <= n with n >= 1; got {successes} of {n}.")
    found = stats.binomtest(successes, n).proportion_ci(confidence_level=level, method="exact")
    return Interval(successes / n, float(found.low), float(found.high), n)


def rank_correlation_interval(x: Sequence[float], y: Sequence[float], level: float = LEVEL) -> Interval:
    """Spearman's ρ with the interval of Bonett & Wright 2000: Fisher's z, variance (1 + ρ²/2)/(n − 3).

    Fewer than four pairs bound nothing; a constant sequence has no correlation (NaN). The interval of ρ = ±1 is that of
    a ρ half a step inside, as a perfect order of few pairs proves no perfect correlation.

    Raises:
        ValueError: sequences of different length, none, or a value that is not finite.
    """
    a, b = _finite(x), _finite(y)
    if len(a) != len(b):
        raise ValueError(f"a correlation needs pairs; got {len(a)} and {len(b)} values.")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return Interval(nan, -inf, inf, len(a))
    rho = float(stats.spearmanr(a, b).statistic)
    if len(a) < 4:
        return Interval(rho, -1.0, 1.0, len(a))
    largest = 1 - 6 / (len(a) * (len(a) ** 2 - 1))  # half of the smallest step of ρ below 1, else ±1 would be certain
    z = np.arctanh(np.clip(rho, -largest, largest))
    half = float(stats.norm.ppf((1 + level) / 2)) * sqrt((1 + rho * rho / 2) / (len(a) - 3))
    return Interval(rho, min(rho, float(np.tanh(z - half))), max(rho, float(np.tanh(z + half))), len(a))


def absolute(x: Interval) -> Interval:
    """The interval of |x|: all values that numbers of the interval have without their sign."""
    low = 0.0 if x.low <= 0 <= x.high else min(abs(x.low), abs(x.high))
    return Interval(abs(x.estimate), low, max(abs(x.low), abs(x.high)), x.n)


def _finite(values: Sequence[float]) -> np.ndarray:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or len(x) == 0 or not all(isfinite(value) for value in x):
        raise ValueError(f"an interval needs one finite number or more; got {list(values)}.")
    return x
