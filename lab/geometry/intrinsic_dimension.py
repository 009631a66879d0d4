"""Intrinsic dimension: the search for d90, the smallest subspace dimension that reaches 90 % of a baseline score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, exp, floor, inf, log, sqrt
from typing import Literal

import numpy as np

from lab.faces import Facts, faced
from lab.statistics.crossing import WIDEST_SEGMENT, bracket, crossing_interval
from lab.statistics.learned import learned
from lab.statistics.monotone import monotone_fit, reached_at

SearchStatus = Literal["converged", "budget", "above_range", "below_range", "one_seed", "nothing_learned"]
Scores = dict[int, list[float]]
Score = Callable[[int, Sequence[int]], Sequence[float]]


def _facts(found: IntrinsicDimension) -> Facts:
    return {
        "d": found.d, "interval": f"[{found.low:,.0f}, {found.high:,.0f}]", "line": found.line, "status": found.message,
        "dimensions tried": len(found.scores), "evaluations": found.evaluations,
    }  # fmt: skip


@faced(_facts)
@dataclass(frozen=True)
class IntrinsicDimension:
    """The result of the search.

    Attributes:
        d: d_int, the smallest integer dimension whose fitted score reaches the line; None when no tried one does.
        low, high: confidence interval of d. low is 0 where even the smallest dimension tried may reach the line, high
            is inf where even the largest may not: the interval is open at that end.
        line: the score to reach, floor + fraction·(baseline − floor).
        scores: dimension -> score of each seed, all that was measured.
        curve: (dimension, fitted score) of the monotone fit, ascending in d.
        status: "converged" (bracket and interval met the tolerance), "budget" (evaluations ran out first),
            "above_range" (even the largest dimension stays below the line), "below_range" (the smallest reaches it),
            "one_seed" (no dimension was measured twice: no interval), "nothing_learned" (the baseline is not above the
            reference: no d_int).
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
    reference: float | None = None,
    n_examples: int | None = None,
    seeds: Sequence[int] = (0, 1),
    extra_seeds: Sequence[int] = (),
    factor: float = 4.0,
    tolerance: float = 1.5,
    max_evaluations: int = 40,
    confidence: float = 0.95,
) -> IntrinsicDimension:
    """Find d_int = min{d : score(d) ≥ floor + fraction·(baseline − floor)} (Li et al. 2018, section 2: d_int90).

    1. *Bracket*: from `start`, go up or down by `factor` until one dimension is below the line and the next reaches it.
    2. *Bisect* in log d until the two sides differ by at most `tolerance`.
    3. *Fit*: isotonic regression of the mean score on log d (more dimensions cannot hurt in expectation), joined by
       straight lines in log d; d_int is where the fit meets the line.
    4. *Interval* (`lab.statistics.crossing_interval`): the dimensions that no test rejects, the baseline's noise
       included. While its upper end is open, the next larger dimension is measured; while its lower end is open, the
       next smaller one; then the middle of the segment with the lower end, where that is wider than a factor of two;
       then, while it is wider than `tolerance` on either side of d, the two dimensions next to the crossing with one
       more of `extra_seeds` each.

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
        reference: score that is had without training: the largest of chance, the majority share and, where the head is
            trained as well, the linear probe. A baseline that is not `learned` beside it has no d_int, and nothing is
            measured. Default None: the baseline is taken as given.
        n_examples: examples the scores are shares of, for the error of a baseline of one seed.
        seeds: measured at every dimension; two or more for an interval.
        extra_seeds: drawn from in step 4.
        factor: step of the bracketing.
        tolerance: largest ratio of neighbouring dimensions at the crossing, and of d to either end of its interval.
        max_evaluations: budget of single evaluations.
        confidence: of the interval.

    Raises:
        ValueError: empty baseline or seeds, a seed twice, a range that is none, or a score that is not finite.
    """
    if not len(baseline) or not all(np.isfinite(baseline)):
        raise ValueError(f"the baseline needs at least one finite score; got {list(baseline)}.")
    if not seeds:
        raise ValueError("the search needs at least one seed.")
    if len({*seeds, *extra_seeds}) < len(seeds) + len(extra_seeds):
        raise ValueError(f"a seed twice is no sample of two; got seeds {list(seeds)} and extra {list(extra_seeds)}.")
    if not 1 <= min_dimension < max_dimension:
        raise ValueError(f"need 1 <= min_dimension < max_dimension; got {min_dimension} and {max_dimension}.")
    if factor <= 1 or tolerance < 1:
        raise ValueError(f"need factor > 1 and tolerance >= 1; got {factor} and {tolerance}.")

    search = _Search(score, np.asarray(baseline, float), fraction, floor_score, max_evaluations, confidence)
    if reference is not None and not learned(baseline, reference, n_examples):
        mean = float(np.mean(baseline))
        text = f"the baseline scores {mean:.3g}, not two standard errors above {reference:.3g}, had without training."
        return search.result("nothing_learned", text)
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

    if not search.above and d == max_dimension:
        text = f"even d = {max_dimension} stays below the line; raise max_dimension or train longer."
        return search.result("above_range", text)
    if not search.above:
        return search.result("budget", "the budget ended before any dimension reached the line.")
    if not search.below and d == min_dimension:
        text = f"already d = {min_dimension} reaches the line; lower min_dimension, or the task is solved at the start."
        return search.result("below_range", text)

    while search.below and search.can_afford(len(seeds)):  # 2. bisect
        left, right = search.bracket
        middle = round(sqrt(left * right)) if left > 0 and right < inf else 0
        if not left < middle < right or right / left <= tolerance:
            break
        search.measure(middle, seeds)

    remaining = list(extra_seeds)
    while not search.settled(interval := search.interval, tolerance):  # 3. fit, 4. interval
        wanted = search.next_dimension(interval, factor, min_dimension, max_dimension)
        if wanted is not None and search.can_afford(len(seeds)):
            search.measure(wanted, seeds)
        elif remaining and search.can_afford(2) and search.below:
            seed = remaining.pop(0)
            for neighbour in search.neighbours:
                search.measure(neighbour, [seed])
        elif not search.replicated:
            text = "no dimension has two seeds, and one value bounds nothing: give two seeds or more."
            return search.result("one_seed", text)
        else:
            why = "evaluations" if remaining or wanted is not None else "seeds"
            text = f"no {why} left with the interval still wider than a factor of {tolerance:g} from d."
            return search.result("budget", text)
    left, right = search.neighbours
    text = f"the neighbours {left} and {right} bracket the line; the interval met the tolerance."
    return search.result("converged", text)


class _Search:
    """The scores so far and what follows from them."""

    def __init__(
        self,
        score: Score,
        baseline: np.ndarray,
        fraction: float,
        floor_score: float,
        max_evaluations: int,
        confidence: float,
    ):
        self.score, self.baseline = score, baseline
        self.fraction, self.floor_score = fraction, floor_score
        self.max_evaluations, self.confidence = max_evaluations, confidence
        self.scores: Scores = {}
        self.evaluations = 0
        self.line = floor_score + fraction * (float(baseline.mean()) - floor_score)

    def can_afford(self, n: int) -> bool:
        return self.evaluations + n <= self.max_evaluations

    def measure(self, d: int, seeds: Sequence[int]) -> bool:
        """Score the seeds at d; whether the mean at d reaches the line."""
        new = [float(value) for value in self.score(d, list(seeds))]
        if len(new) != len(seeds) or not all(np.isfinite(new)):
            raise ValueError(f"score(d={d}, seeds={list(seeds)}) must return one finite score per seed; got {new}.")
        self.evaluations += len(new)
        self.scores.setdefault(d, []).extend(new)
        return float(np.mean(self.scores[d])) >= self.line

    @property
    def above(self) -> list[int]:
        return [d for d, values in self.scores.items() if np.mean(values) >= self.line]

    @property
    def below(self) -> list[int]:
        return [d for d, values in self.scores.items() if np.mean(values) < self.line]

    @property
    def replicated(self) -> bool:
        """Whether any dimension has two scores, without which there is no interval."""
        return any(len(values) > 1 for values in self.scores.values())

    @property
    def fit(self) -> tuple[np.ndarray, np.ndarray]:
        """Measured dimensions, ascending, and the monotone fit there."""
        dimensions = sorted(self.scores)
        means = [float(np.mean(self.scores[d])) for d in dimensions]
        return np.array(dimensions, float), monotone_fit(means, [len(self.scores[d]) for d in dimensions])

    @property
    def bracket(self) -> tuple[float, float]:
        """Neighbouring dimensions between which the fit meets the line; 0 and inf where one was not measured."""
        return bracket(*self.fit, self.line)

    @property
    def neighbours(self) -> tuple[int, int]:
        """The same, of measured dimensions only."""
        left, right = self.bracket
        return int(left) or min(self.scores), int(right) if right < inf else max(self.scores)

    @property
    def crossing(self) -> int | None:
        """Smallest integer d at which the fit, linear in log d between measured dimensions, reaches the line."""
        found = reached_at(*self.fit, self.line)
        if found is None:
            return None
        left, right = self.neighbours
        return min(right, max(left + 1, ceil(found - 1e-9))) if left < right else right

    @property
    def interval(self) -> tuple[float, float]:
        """The integers that `crossing_interval` leaves; 0 and inf where it is open."""
        low, high = crossing_interval(
            self.scores,
            self.baseline.tolist(),
            fraction=self.fraction,
            floor=self.floor_score,
            level=self.confidence,
        )
        return floor(low + 1e-9) + 1.0 if low > 0 else 0.0, ceil(high - 1e-9) if high < inf else inf

    def settled(self, interval: tuple[float, float], tolerance: float) -> bool:
        """Whether bracket and interval meet the tolerance."""
        (left, right), (low, high), d = self.bracket, interval, self.crossing
        bracketed = left > 0 and (right / left <= tolerance or right - left <= 1)
        return bracketed and d is not None and low > 0 and d / tolerance <= low and high - 1 <= d * tolerance

    def next_dimension(self, interval: tuple[float, float], factor: float, smallest: int, largest: int) -> int | None:
        """What an interval that is open, or whose low end lies in a wide segment, wants measured."""
        if not self.replicated:
            return None
        (low, high), tried = interval, sorted(self.scores)
        if high == inf and tried[-1] < largest:
            return min(largest, ceil(tried[-1] * factor))
        if low == 0 and tried[0] > smallest:
            return max(smallest, floor(tried[0] / factor))
        for left, right in pairwise(tried):
            if left < low <= right and right / left > WIDEST_SEGMENT:
                return round(sqrt(left * right))
        return None

    def result(self, status: SearchStatus, text: str) -> IntrinsicDimension:
        scores = {k: list(self.scores[k]) for k in sorted(self.scores)}
        if not scores:
            return IntrinsicDimension(None, 0.0, inf, self.line, scores, (), status, text, 0)
        curve = tuple((int(k), float(v)) for k, v in zip(*self.fit, strict=True))
        return IntrinsicDimension(
            self.crossing, *self.interval, self.line, scores, curve, status, text, self.evaluations
        )
