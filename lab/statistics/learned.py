"""Whether training taught anything: scores against what is had without it."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from lab.statistics.interval import finite

STANDARD_ERRORS = 2.0
"""How far above its reference a score has to lie."""


def learned(scores: Sequence[float], reference: float, n_examples: int | None = None) -> bool:
    """Whether the mean of scores lies two standard errors above a reference: chance, the majority share, a probe.

    The standard error is the larger of √(s²/n) over the n scores and, where they are shares of n_examples counted
    right, √(p(1 − p)/n_examples) of a single one: seeds that share their examples share that error, and a single
    score has no other. One score without n_examples shows nothing.

    Args:
        scores: of independent seeds.
        reference: score that needs no training.
        n_examples: examples that a score, a share of them, is counted over.

    Raises:
        ValueError: no score, or one that is not finite; no examples.
    """
    x = finite(scores)
    if n_examples is not None and n_examples < 1:
        raise ValueError(f"n_examples must be 1 or more; got {n_examples}.")
    mean, n = float(x.mean()), len(x)
    if n == 1 and n_examples is None:
        return False
    seeds = float(x.std(ddof=1)) / sqrt(n) if n > 1 else 0.0
    share = min(max(mean, 0.0), 1.0)
    counted = sqrt(share * (1 - share) / n_examples) if n_examples is not None else 0.0
    return mean - reference > STANDARD_ERRORS * max(seeds, counted)
