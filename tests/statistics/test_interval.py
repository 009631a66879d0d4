"""Intervals against scipy and hand-derived values."""

from __future__ import annotations

from math import inf, isnan

import numpy as np
import pytest
from scipy import stats

from lab.statistics import (
    Interval,
    absolute,
    at_resolution,
    cluster_interval,
    least_of,
    mean_interval,
    pair_interval,
    proportion_interval,
    rank_correlation_interval,
    stratified_interval,
    unbounded,
    worst_case,
)


def test_mean_interval_is_the_one_of_scipy():
    x = [0.91, 0.93, 0.88, 0.95]
    expected = stats.t.interval(0.95, 3, loc=np.mean(x), scale=stats.sem(x))
    found = mean_interval(x)
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.estimate == pytest.approx(np.mean(x))


def test_one_value_bounds_nothing():
    assert mean_interval([0.5]) == Interval(0.5, -inf, inf, 1)


def test_one_stratum_is_the_mean_and_two_are_welchs():
    x, y = [0.91, 0.93, 0.88, 0.95], [0.71, 0.65, 0.8]
    one = mean_interval(x)
    found = stratified_interval({"a": x})
    assert (found.estimate, found.low, found.high) == pytest.approx((one.estimate, one.low, one.high))
    # (x̄ + ȳ)/2 is half of x̄ − (−ȳ): Welch's interval of a difference, halved
    welch = stats.ttest_ind(x, [-value for value in y], equal_var=False).confidence_interval(0.95)
    both = stratified_interval({"a": x, "b": y})
    assert (both.low, both.high) == pytest.approx((welch.low / 2, welch.high / 2))
    assert both.n == 7


def test_strata_are_weighted_alike_and_one_value_bounds_nothing():
    assert stratified_interval({"a": [1.0, 1.0, 1.0], "b": [0.0, 0.0]}) == Interval(0.5, 0.5, 0.5, 5)
    assert stratified_interval({"a": [0.2, 0.3], "b": [0.1]}) == Interval(pytest.approx(0.175), -inf, inf, 3)
    with pytest.raises(ValueError, match="needs one group or more"):
        stratified_interval({})


def test_rank_correlation_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    rho = 0.6
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's ρ of a bivariate normal
    hits = 0
    for _ in range(400):
        x = rng.standard_normal(30)
        y = rho * x + np.sqrt(1 - rho**2) * rng.standard_normal(30)
        found = rank_correlation_interval(x, y)
        hits += found.low <= truth <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_proportions_by_hand():
    """All or nothing of n: the ends solve p^n = 2.5 %."""
    assert proportion_interval(0, 10) == Interval(0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 10)), 10)
    assert proportion_interval(10, 10) == Interval(1.0, pytest.approx(0.025 ** (1 / 10)), 1.0, 10)
    assert proportion_interval(5, 10).low == pytest.approx(1 - proportion_interval(5, 10).high)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 3), (4, 3)])
def test_impossible_proportions_are_refused(successes, n):
    with pytest.raises(ValueError, match=f"0 <= successes <= n with n >= 1; got {successes} of {n}"):
        proportion_interval(successes, n)


def test_rank_correlation_without_enough_to_go_on():
    assert rank_correlation_interval([1, 2, 3], [1, 2, 3]) == Interval(pytest.approx(1.0), -1.0, 1.0, 3)
    assert isnan(rank_correlation_interval([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]).estimate)


def test_a_perfect_order_of_few_pairs_is_not_certain():
    few, many = (rank_correlation_interval(range(n), range(n)) for n in (5, 50))
    assert few.estimate == many.estimate == pytest.approx(1.0)
    assert 0.0 < few.low < 0.5 < 0.99 < many.low < 1.0
    reverse = rank_correlation_interval(range(5), [-x for x in range(5)])
    assert (reverse.low, reverse.high) == pytest.approx((-few.high, -few.low))


@pytest.mark.parametrize("values", [[], [0.1, float("nan")], [[1.0, 2.0]]])
def test_values_that_are_no_numbers_are_refused(values):
    with pytest.raises(ValueError, match="an interval needs one finite number or more"):
        mean_interval(values)


def test_pairs_must_match():
    with pytest.raises(ValueError, match="a correlation needs pairs; got 2 and 3"):
        rank_correlation_interval([1, 2], [1, 2, 3])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_order_lies_in_its_own_interval(sign):
    found = rank_correlation_interval([1, 2, 3, 4, 5], [sign * y for y in (1, 2, 3, 4, 5)])
    assert found.estimate == pytest.approx(sign)
    assert found.low <= found.estimate <= found.high
    assert found.high - found.low > 0.5


def test_equal_scores_do_not_agree_for_sure():
    """Two seeds that agree on 64 examples: as if one lay a step off, s² = (1/64)²/2, half-width t₁·s/√2."""
    found = mean_interval([0.75, 0.75], resolution=1 / 64)
    assert found.high - found.estimate == pytest.approx(stats.t.ppf(0.975, 1) / 64 / 2)
    apart = [0.5, 0.75]
    assert mean_interval(apart, resolution=1 / 64) == mean_interval(apart)


def test_no_interval_is_narrower_than_the_metric_can_tell():
    assert at_resolution(Interval(0.5, 0.5, 0.5, 9), 0.1) == Interval(0.5, 0.45, 0.55, 9)
    wide = Interval(0.5, 0.2, 0.9, 9)
    assert at_resolution(wide, 0.1) == wide


def test_one_violation_breaks_a_bound():
    ratios = [0.3] * 119 + [1.2]
    assert mean_interval(ratios).high < 1  # the mean of 120 says that it holds
    assert worst_case(ratios) == Interval(1.2, 1.2, 1.2, 120)
    with pytest.raises(ValueError, match="one finite number or more"):
        worst_case([])


def test_what_shares_a_seed_counts_once():
    found, by_hand = cluster_interval({0: [0.1, 0.3], 1: [0.2, 0.4], 2: [0.5]}), mean_interval([0.2, 0.3, 0.5])
    assert (found.low, found.high, found.n) == (pytest.approx(by_hand.low), pytest.approx(by_hand.high), 3)


def test_sums_of_two_units_have_twice_the_interval_of_the_units():
    """h(i, j) = x_i + x_j: the mean is 2 x̄, without unit i it is 2·mean(x_{−i}), so that s is 2·s_x̄ exactly."""
    x = [0.3, 0.7, 0.1, 0.9]
    found = pair_interval({"one PLM": {(i, j): x[i] + x[j] for i in range(4) for j in range(i)}})
    units = mean_interval(x)
    assert (found.low, found.high) == (pytest.approx(2 * units.low), pytest.approx(2 * units.high))
    assert found.n == 4


def test_one_pair_bounds_nothing():
    assert pair_interval({"one PLM": {("a", "b"): 0.4}}) == Interval(0.4, -inf, inf, 2)
    with pytest.raises(ValueError, match="needs one group or more"):
        pair_interval({})


def test_pairs_of_two_plms_are_compared_within_each():
    """Levels of 1 and 50 are no spread: the interval is that of pairs that differ from their PLM's mean by the same."""
    x = [0.3, 0.7, 0.1, 0.9]
    low, high = ({(i, j): level + x[i] + x[j] for i in range(4) for j in range(i)} for level in (1, 50))
    one, two = pair_interval({"low": low}), pair_interval({"low": low, "high": high})
    assert two.n == 8
    assert two.estimate == pytest.approx(one.estimate + 49 / 2)
    assert two.high - two.low < one.high - one.low


def test_the_p_value_is_that_of_the_test_behind_the_interval():
    x, y = [0.91, 0.93, 0.88, 0.95], [0.71, 0.65, 0.8]
    assert mean_interval(x).p_value(0.9) == pytest.approx(stats.ttest_1samp(x, 0.9).pvalue, rel=1e-6)
    welch = stats.ttest_ind(x, y, equal_var=False)
    difference = stratified_interval({"a": x, "b": [-value for value in y]})
    assert difference.p_value(0.0) == pytest.approx(welch.pvalue, rel=1e-6)
    assert proportion_interval(9, 10).p_value(0.5) == pytest.approx(2 * stats.binom.sf(8, 10, 0.5), rel=1e-6)


def test_the_p_value_says_whether_an_interval_leaves_a_value_out():
    rng = np.random.default_rng(1)
    for _ in range(20):
        found = cluster_interval({i: rng.standard_normal(3).tolist() for i in range(5)})
        assert (found.p_value(0.3) < 0.05) == (not found.low <= 0.3 <= found.high)


def test_p_values_of_what_bounds_nothing_and_of_what_leaves_no_doubt():
    assert mean_interval([0.5]).p_value(0.0) == pytest.approx(1.0)
    assert unbounded(mean_interval([0.5, 0.6, 0.7])).p_value(0.0) == pytest.approx(1.0)
    assert mean_interval([1.0, 1.0, 1.0]).p_value(0.0) == 1e-9
    with pytest.raises(ValueError, match="known at one confidence has no p value"):
        Interval(0.5, 0.1, 0.9, 5).p_value(0.0)


def test_changes_of_an_interval_keep_its_p_value():
    x = mean_interval([0.3, 0.5, 0.2, 0.45])
    assert x.scaled(2.0).p_value(0.4) == pytest.approx(x.p_value(0.2))
    assert absolute(x).p_value(0.1) == pytest.approx(x.p_value(0.1))
    assert at_resolution(x, 1e-6).p_value(0.1) == pytest.approx(x.p_value(0.1), rel=1e-3)
    with pytest.raises(ValueError, match="scaled by a positive factor; got 0"):
        x.scaled(0)


def test_the_least_of_several_takes_its_low_end_from_each_and_its_high_end_from_all():
    a, b = mean_interval([0.3, 0.5, 0.4]), mean_interval([0.1, 0.3, 0.35, 0.2])
    found = least_of({"a": a, "b": b})
    shared = [mean_interval(values, 0.975).high for values in ([0.3, 0.5, 0.4], [0.1, 0.3, 0.35, 0.2])]
    assert (found.estimate, found.low, found.n) == (pytest.approx(0.2375), min(a.low, b.low), 3)
    assert found.high == pytest.approx(min(shared))
    assert least_of({"a": a}) == a
    with pytest.raises(ValueError, match="needs intervals known at every level"):
        least_of({"a": Interval(0.1, 0.0, 0.2, 3)})


def test_the_worst_case_of_a_bound_from_below_is_the_smallest():
    assert worst_case([0.7, 0.4, 0.9], side="above") == Interval(0.4, 0.4, 0.4, 3)
