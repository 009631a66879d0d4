"""Intervals of a crossing: by hand, open ends, and what a bound at one x costs."""

from __future__ import annotations

from math import exp, inf, log, sqrt

import numpy as np
import pytest
from scipy import stats

from lab.statistics.crossing import crossing_interval, pooled_variance
from lab.statistics.learned import learned


def test_variance_is_pooled_over_groups_by_hand():
    """(1, 3) and (2, 2, 5): squares 2 and 6 over 1 + 2 degrees of freedom; a single value adds nothing."""
    variance, freedom = pooled_variance([[1.0, 3.0], [2.0, 2.0, 5.0], [7.0]])
    assert (variance, freedom) == (pytest.approx(8 / 3), 3)


def test_ends_are_where_the_bounds_meet_the_line():
    scores = {100: [0.60, 0.64], 200: [0.70, 0.74], 400: [0.80, 0.84], 800: [0.90, 0.94]}
    baseline = [0.84, 0.86]
    variance, own = 0.0008, 0.0002 / 2  # 2·0.02² at each of four x over four degrees of freedom; that of the baseline
    total = variance / 2 + own
    half = stats.t.ppf(0.975, total**2 / ((variance / 2) ** 2 / 4 + own**2)) * sqrt(total)
    line = 0.85
    # means 0.62, 0.72, 0.82, 0.92 rise by 0.1 per doubling
    low = 100 * 2 ** ((line - half - 0.62) / 0.1)
    found = crossing_interval(scores, baseline)
    assert 0.05 < half < 0.06
    assert 100 * 2 ** ((line + half - 0.62) / 0.1) < 800  # inside the bracket, where nothing was measured
    assert found == (pytest.approx(low), 800.0)
    # a line between 200 and 400, whose upper neighbour is not above it for sure
    lower = crossing_interval(scores, [0.80, 0.82])
    assert lower[1] == pytest.approx(400 * 2 ** ((0.81 + half - 0.82) / 0.1))


def test_one_value_bounds_nothing():
    assert crossing_interval({10: [0.1], 20: [0.9], 40: [0.95]}, [0.5, 0.5]) == (0.0, inf)


def test_ends_are_open_where_the_noise_reaches_the_line():
    noise = [0.3, -0.3]
    rising = {x: [0.1 * log(x) + e for e in noise] for x in (10, 20, 40)}
    assert crossing_interval(rising, [0.3, 0.3]) == (0.0, inf)


def test_without_noise_the_interval_is_the_bracket():
    scores = {x: [log(x)] * 2 for x in (10, 20, 40, 80)}
    assert crossing_interval(scores, [log(30)] * 2) == (20.0, 40.0)


def test_in_a_wide_segment_the_low_end_is_the_last_x_that_was_rejected():
    noise = [0.01, -0.01]
    wide = {x: [log(x) + e for e in noise] for x in (10, 100, 200)}
    assert crossing_interval(wide, [log(101)] * 2)[0] == 10
    narrow = {x: [log(x) + e for e in noise] for x in (10, 50, 100, 200)}
    assert 50 < crossing_interval(narrow, [log(101)] * 2)[0] < 100


def test_a_single_baseline_has_the_noise_of_the_runs():
    scores = {x: [0.5 * log(x) + e for e in (0.05, -0.05)] for x in (10, 15, 22, 33)}
    single, exact = crossing_interval(scores, [0.5 * log(18)]), crossing_interval(scores, [0.5 * log(18)] * 2)
    assert single[0] < exact[0]
    assert single[1] > exact[1]


def covered(n: int, trials: int) -> float:
    """A line in log x, a grid finer than the noise: what is left is the test itself, two-sided at 95 %."""
    rng = np.random.default_rng(n)
    places, truth = [round(exp(k / 3)) for k in range(6, 22)], 100.0
    hits = 0
    for _ in range(trials):
        scores = {x: (0.2 * log(x) + 0.1 * rng.standard_normal(n)).tolist() for x in places}
        low, high = crossing_interval(scores, (0.2 * log(truth) + 0.05 * rng.standard_normal(n)).tolist())
        hits += low <= truth <= high
    return hits / trials


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_crossing_is_covered(n):
    assert covered(n, 60) >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize("n", range(2, 11))
def test_a_crossing_is_covered_as_often_as_it_says(n):
    assert covered(n, 1000) >= 0.93


def test_learned_is_two_standard_errors_above_the_reference():
    scores = [0.5, 0.6]  # standard error 0.05
    assert learned(scores, 0.449)
    assert not learned(scores, 0.451)


def test_seeds_that_agree_still_share_their_examples():
    # of 100 examples a share of 0.5 has a standard error of 0.05
    assert learned([0.5, 0.5], 0.41)
    assert learned([0.5, 0.5], 0.399, n_examples=100)
    assert not learned([0.5, 0.5], 0.41, n_examples=100)


def test_a_single_score_shows_nothing_but_by_its_examples():
    assert not learned([0.9], 0.1)
    assert learned([0.9], 0.1, n_examples=50)
    with pytest.raises(ValueError, match="n_examples must be 1 or more; got 0"):
        learned([0.9], 0.1, n_examples=0)
