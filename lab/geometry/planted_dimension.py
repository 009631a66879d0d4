"""Searches for a d90 that was planted: how often the interval covers it, and how wide it is."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import numpy as np

from lab.geometry.intrinsic_dimension import IntrinsicDimension, intrinsic_dimension

BASELINE = 0.94
"""Expected score of the reference; curves saturate there."""

START = 1000
"""First dimension of the searches."""

RUN_NOISE, BASELINE_NOISE = 0.03, 0.016
"""Standard deviations over seeds of MiniLM's scores on bbc-news: in a subspace near d90, and of full fine-tuning."""


def power_curve(d90: float) -> Callable[[float], float]:
    """Expected score b − a·(d/d90)^−2/3 with 0.9·b at d90: what subspace runs of MiniLM on bbc-news look like."""
    return lambda d: max(0.0, BASELINE - 0.1 * BASELINE * (d / d90) ** (-2 / 3))


def logistic_curve(d90: float, steepness: float = 1.5) -> Callable[[float], float]:
    """Expected score that rises from a chance of 0.2 to b as a logistic of log d, with 0.9·b at d90."""
    chance = 0.2
    odds = (0.9 * BASELINE - chance) / (0.1 * BASELINE)
    return lambda d: chance + (BASELINE - chance) / (1 + (d90 / d) ** steepness / odds)


CURVES = {"power law": power_curve, "logistic": logistic_curve}


def planted_search(
    curve: Callable[[float], float], n_seeds: int, rng: np.random.Generator, *, max_evaluations: int | None = None
) -> IntrinsicDimension:
    """One search with noise on the runs and on the baseline, with the settings of the demo.

    Args:
        curve: d -> expected score.
        n_seeds: runs at every dimension, and of the baseline.
        rng: of the noise.
        max_evaluations: budget. Default eight dimensions.
    """
    return intrinsic_dimension(
        lambda d, seeds: (curve(d) + RUN_NOISE * rng.standard_normal(len(seeds))).tolist(),
        (BASELINE + BASELINE_NOISE * rng.standard_normal(n_seeds)).tolist(),
        min_dimension=2,
        max_dimension=100_000,
        start=START,
        seeds=range(n_seeds),
        max_evaluations=8 * n_seeds if max_evaluations is None else max_evaluations,
        tolerance=1.5,
    )


def planted_coverage(shape: str, d90: float, n_seeds: int, trials: int, seed: int = 0) -> dict[str, float]:
    """Share of searches whose interval covers the planted d90, the share open at an end, and how wide the others are.

    Args:
        shape: of `CURVES`.
        d90: the truth.
        n_seeds: as in `planted_search`.
        trials: searches.
        seed: of the noise.

    Returns:
        covered, open: shares; width: median of high/low where both ends are closed (NaN: none); dimensions: mean
        number of dimensions measured.
    """
    curve = CURVES[shape](d90)
    found = [
        planted_search(curve, n_seeds, np.random.default_rng((seed, i, n_seeds, ceil(d90)))) for i in range(trials)
    ]
    closed = [x.high / x.low for x in found if x.low > 0 and x.high < float("inf")]
    return {
        "covered": float(np.mean([x.low <= ceil(d90 - 1e-9) <= x.high for x in found])),
        "open": 1 - len(closed) / trials,
        "width": float(np.median(closed)) if closed else float("nan"),
        "dimensions": float(np.mean([len(x.scores) for x in found])),
    }
