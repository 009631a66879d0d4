"""Intrinsic dimension: the search for d90, the smallest subspace dimension that reaches 90 % of a baseline score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, exp, floor, inf, log, sqrt
from typing import Literal

import numpy as np
import scipy  # its names load their modules on first use

SearchStatus = Literal["converged", "budget", "above_range", "below_range"]
Scores = dict[int, list[float]]
Score = Callable[[int, Sequence[int]], Sequence[float]]

OWN_RESIDUALS = 4
"""From this many seeds on, a dimension's error is resampled from its own residuals; below, from those of all."""


@dataclass(frozen=True)
class IntrinsicDimension:
    """The result of the search.

    Attributes:
        d: d_int, the smallest integer dimension whose fitted score reaches the line; None when no tried one does.
        low, high: bootstrap interval of d; `high` is inf when the line may lie above the largest dimension tried.
        line: the score to reach, floor + fraction·(baseline − floor).
        scores: dimension -> score of each seed, all that was measured.
        curve: (dimension, fitted score) of the monotone fit, ascending in d.
        status: "converged" (bracket and interval met the tolerance), "budget" (evaluations ran out first),
            "above_range" (even the largest dimension stays below the line), "below_range" (the smallest reaches it).
        message: one sentence saying what the status means here.
        evaluations: calls of one seed.
    """

    d: int | None
    low: float
    high: float
    line: float
    scores: Scores
    curve: tuple[tuple[int, float], ...]
    status: SearchStatus
    message: str
    evaluations: int


def intrinsic_dimension(
    score: Score,
    baseline: Sequence[float],
    *,
    max_dimension: int,
    min_dimension: int = 1,
    start: int | None = None,
    fraction: float = 0.9,
    floor_score: float = 0.0,
    seeds: Sequence[int] = (0, 1),
    extra_seeds: Sequence[int] = (),
    factor: float = 4.0,
    tolerance: float = 1.5,
    max_evaluations: int = 40,
    confidence: float = 0.95,
    n_bootstrap: int = 2000,
    bootstrap_seed: int = 0,
) -> IntrinsicDimension:
    """Find d_int = min{d : score(d) ≥ floor + fraction·(baseline − floor)} (Li et al. 2018, section 2: d_int90).

    1. *Bracket*: from `start`, go up or down by `factor` until one dimension is below the line and the next reaches it.
    2. *Bisect* in log d until the two sides differ by at most `tolerance`.
    3. *Fit*: isotonic regression of the mean score on log d (more dimensions cannot hurt in expectation), joined by
       straight lines in log d; d_int is where the fit meets the line.
    4. *Interval*: bootstrap over the seeds of every dimension (residuals pooled over dimensions while a dimension has
       fewer than four) and of the baseline; every replicate is fitted again. While its upper end is open, the next
       larger dimension is measured; while it is wider than `tolerance` on either side of d, the two dimensions next to
       the crossing are measured with one more of `extra_seeds` each.

    The search is a deterministic function of the scores, so with scores kept in a store it resumes where it stopped.

    Args:
        score: (d, seeds) -> one score per seed; higher is better. Called once per dimension and round.
        baseline: scores of the reference, one per seed: full fine-tuning of the same architecture ("local" baseline),
            or the best score known for the task ("global").
        max_dimension, min_dimension: range of the search.
        start: first dimension; default the geometric middle of the range.
        fraction: share of the baseline to reach. Default 0.9 (Li et al. 2018).
        floor_score: score of a model that knows nothing. Default 0, the convention of the literature; the chance level
            makes metrics with different chance levels comparable.
        seeds: measured at every dimension.
        extra_seeds: drawn from in step 4.
        factor: step of the bracketing.
        tolerance: largest ratio of neighbouring dimensions at the crossing, and of d to either end of its interval.
        max_evaluations: budget of single evaluations.
        confidence, n_bootstrap, bootstrap_seed: of the interval.

    Raises:
        ValueError: empty baseline or seeds, a range that is none, or a score that is not finite.
    """
    if not len(baseline) or not all(np.isfinite(baseline)):
        raise ValueError(f"the baseline needs at least one finite score; got {list(baseline)}.")
    if not seeds:
        raise ValueError("the search needs at least one seed.")
    if not 1 <= min_dimension < max_dimension:
        raise ValueError(f"need 1 <= min_dimension < max_dimension; got {min_dimension} and {max_dimension}.")
    if factor <= 1 or tolerance < 1:
        raise ValueError(f"need factor > 1 and tolerance >= 1; got {factor} and {tolerance}.")

    search = _Search(score, np.asarray(baseline, float), fraction, floor_score, max_evaluations)
    d = round(exp((log(min_dimension) + log(max_dimension)) / 2)) if start is None else start
    d = min(max(d, min_dimension), max_dimension)

    reached = search.measure(d, seeds)
    while search.can_afford(len(seeds)):  # 1. bracket
        if reached and d > min_dimension and not search.below:
            d = max(min_dimension, floor(d / factor))
        elif not reached and d < max_dimension and not search.above:
            d = min(max_dimension, ceil(d * factor))
        else:
            break
        reached = search.measure(d, seeds)
    if not search.above and not search.can_afford(len(seeds)) and d < max_dimension:
        return search.result(None, inf, inf, "budget", "the budget ended before any dimension reached the line.")
    if not search.above:
        text = f"even d = {max_dimension} stays below the line; raise max_dimension or train longer."
        return search.result(None, float(max_dimension), inf, "above_range", text)
    if not search.below and d == min_dimension:
        text = f"already d = {min_dimension} reaches the line; lower min_dimension, or the task is solved at the start."
        return search.result(min_dimension, 0.0, float(min_dimension), "below_range", text)

    while search.below and search.can_afford(len(seeds)):  # 2. bisect
        left, right = search.bracket()
        middle = round(sqrt(left * right))
        if right / left <= tolerance or middle in (left, right):
            break
        search.measure(middle, seeds)

    remaining = list(extra_seeds)
    while True:  # 3. fit, 4. interval
        d_int = search.crossing()
        low, high = search.interval(confidence, n_bootstrap, bootstrap_seed)
        left, right = search.bracket()
        bracketed = right / left <= tolerance or right - left <= 1
        if bracketed and d_int is not None and d_int / tolerance <= low + 1 and high - 1 <= d_int * tolerance:
            text = f"the neighbours {left} and {right} bracket the line; the interval met the tolerance."
            return search.result(d_int, low, high, "converged", text)
        largest = max(search.scores)
        if high == inf and largest < max_dimension and search.can_afford(len(seeds)):
            search.measure(min(max_dimension, ceil(largest * factor)), seeds)
        elif remaining and search.can_afford(2):
            seed = remaining.pop(0)
            for neighbour in (left, right):
                search.measure(neighbour, [seed])
        else:
            why = "evaluations" if remaining or high == inf else "seeds"
            text = f"no {why} left with the interval still wider than a factor of {tolerance:g} from d."
            return search.result(d_int, low, high, "budget", text)


class _Search:
    """The scores so far and what follows from them."""

    def __init__(self, score: Score, baseline: np.ndarray, fraction: float, floor_score: float, max_evaluations: int):
        self.score, self.baseline = score, baseline
        self.fraction, self.floor_score, self.max_evaluations = fraction, floor_score, max_evaluations
        self.scores: Scores = {}
        self.evaluations = 0

    def line(self, baseline: float) -> float:
        return self.floor_score + self.fraction * (baseline - self.floor_score)

    @property
    def target(self) -> float:
        return self.line(float(self.baseline.mean()))

    def can_afford(self, n: int) -> bool:
        return self.evaluations + n <= self.max_evaluations

    def measure(self, d: int, seeds: Sequence[int]) -> bool:
        """Score the seeds at d; whether the mean at d reaches the line."""
        new = [float(value) for value in self.score(d, list(seeds))]
        if len(new) != len(seeds) or not all(np.isfinite(new)):
            raise ValueError(f"score(d={d}, seeds={list(seeds)}) must return one finite score per seed; got {new}.")
        self.evaluations += len(new)
        self.scores.setdefault(d, []).extend(new)
        return float(np.mean(self.scores[d])) >= self.target

    @property
    def above(self) -> list[int]:
        return [d for d, values in self.scores.items() if np.mean(values) >= self.target]

    @property
    def below(self) -> list[int]:
        return [d for d, values in self.scores.items() if np.mean(values) < self.target]

    def bracket(self) -> tuple[int, int]:
        """Neighbouring measured dimensions between which the monotone fit meets the line."""
        dimensions, fitted = self.fit(self.means())
        reaching = np.flatnonzero(fitted >= self.target)
        index = int(reaching[0]) if len(reaching) else len(dimensions) - 1
        return int(dimensions[max(index - 1, 0)]), int(dimensions[index])

    def means(self) -> np.ndarray:
        return np.array([np.mean(self.scores[d]) for d in sorted(self.scores)])

    def fit(self, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        dimensions = np.array(sorted(self.scores))
        weights = np.array([len(self.scores[d]) for d in dimensions], float)
        return dimensions, scipy.optimize.isotonic_regression(means, weights=weights).x

    def crossing(self, means: np.ndarray | None = None, target: float | None = None) -> int | None:
        """Smallest integer d at which the fit, linear in log d between measured dimensions, reaches the line."""
        target = self.target if target is None else target
        dimensions, fitted = self.fit(self.means() if means is None else means)
        reaching = np.flatnonzero(fitted >= target)
        if not len(reaching):
            return None
        i = int(reaching[0])
        if i == 0:
            return int(dimensions[0])
        share = (target - fitted[i - 1]) / (fitted[i] - fitted[i - 1])
        d = exp(log(dimensions[i - 1]) + share * (log(dimensions[i]) - log(dimensions[i - 1])))
        return min(int(dimensions[i]), max(int(dimensions[i - 1]) + 1, ceil(d - 1e-9)))

    def interval(self, confidence: float, n_bootstrap: int, seed: int) -> tuple[float, float]:
        """Bootstrap interval of the crossing, over the seeds of every dimension and of the baseline."""
        rng = np.random.default_rng(seed)
        means = self.means()
        noise = np.stack([self._noise(d, n_bootstrap, rng) for d in sorted(self.scores)], axis=1)
        baseline = self.baseline.mean() + _resampled_means(
            self._baseline_residuals(), len(self.baseline), n_bootstrap, rng
        )
        found = [self.crossing(means + e, self.line(b)) for e, b in zip(noise, baseline, strict=True)]
        replicates = [inf if d is None else d for d in found]
        tail = (1 - confidence) / 2
        low, high = np.quantile(replicates, [tail, 1 - tail], method="closest_observation")
        return float(low), float(high)

    def _noise(self, d: int, n_bootstrap: int, rng: np.random.Generator) -> np.ndarray:
        """Replicates of the error of the mean at d: its own residuals where there are enough, pooled ones elsewhere."""
        own = len(self.scores[d]) >= OWN_RESIDUALS
        residuals = _residuals(self.scores[d]) if own else self._pooled_residuals()
        return _resampled_means(residuals, len(self.scores[d]), n_bootstrap, rng)

    def _pooled_residuals(self) -> np.ndarray:
        repeated = [_residuals(values) for values in self.scores.values() if len(values) > 1]
        return np.concatenate(repeated) if repeated else np.zeros(1)

    def _baseline_residuals(self) -> np.ndarray:
        return _residuals(self.baseline) if len(self.baseline) > 1 else self._pooled_residuals()

    def result(self, d: int | None, low: float, high: float, status: SearchStatus, text: str) -> IntrinsicDimension:
        dimensions, fitted = self.fit(self.means())
        curve = tuple((int(k), float(v)) for k, v in zip(dimensions, fitted, strict=True))
        scores = {k: list(self.scores[k]) for k in sorted(self.scores)}
        return IntrinsicDimension(d, low, high, self.target, scores, curve, status, text, self.evaluations)


def _residuals(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Deviations from the mean, scaled so that their mean square is the unbiased variance."""
    scores = np.asarray(values, float)
    return (scores - scores.mean()) * sqrt(len(scores) / (len(scores) - 1))


def _resampled_means(residuals: np.ndarray, n: int, n_bootstrap: int, rng: np.random.Generator) -> np.ndarray:
    """n_bootstrap means of n residuals drawn with replacement."""
    return rng.choice(residuals, size=(n_bootstrap, n)).mean(axis=1)
