"""Exact tests: counts by hand, and a level that holds."""

from __future__ import annotations

from math import factorial, inf

import numpy as np
import pytest
from scipy import stats

from lab.statistics import Evidence, mantel, relabelled, sign_flips


def distances(x):
    return np.abs(np.subtract.outer(x, x))


def test_all_orders_are_counted_by_hand():
    """Of the six orders of (1, 2, 3) only the identity gives Σ i·x_i = 14."""
    x = np.array([1, 2, 3])
    found = relabelled(lambda order: float(x @ x[order]), 3)
    assert (found.statistic, found.n, found.exact) == (14.0, 6, True)
    assert found.p_value == found.attainable == pytest.approx(1 / 6)


def test_four_units_cannot_be_significant():
    x = np.array([0.0, 1.0, 3.0, 7.0])
    found = mantel(distances(x), distances(x))
    assert found.statistic == pytest.approx(1.0)
    assert found.n == factorial(4)
    assert found.p_value == found.attainable == pytest.approx(1 / 24)
    assert not found.can_reach(0.025)
    assert found.can_reach(0.05)


def test_symmetry_makes_the_attainable_p_larger():
    """Equal distances from a middle: exchanging the ends changes nothing, so no p is below 2/24."""
    first = distances(np.array([0.0, 1.0, 2.0, 3.0]))
    assert mantel(first, first).attainable == pytest.approx(2 / 24)


def test_the_interval_of_a_correlation_excludes_0_iff_the_test_can_say_so():
    few, many = (np.array([0.0, 1.0, 3.0, 7.0, 15.0, 31.0][:n]) for n in (4, 6))
    assert mantel(distances(few), distances(few)).interval(4).low == -1.0
    found = mantel(distances(many), distances(many)).interval(6)
    assert (found.estimate, found.n) == (pytest.approx(1.0), 6)
    assert 0 < found.low < 1e-300


def test_a_constant_matrix_shows_nothing():
    found = mantel(np.ones((4, 4)), distances(np.array([0.0, 1.0, 3.0, 7.0])))
    assert np.isnan(found.statistic)
    assert (found.p_value, found.can_reach(0.05)) == (1.0, False)


def test_sign_flips_are_those_of_scipy():
    x = [0.3, -0.1, 0.4, 0.2, 0.05]
    expected = stats.permutation_test((x,), np.mean, permutation_type="samples", alternative="greater")
    found = sign_flips(x)
    assert (found.statistic, found.p_value) == (pytest.approx(0.17), pytest.approx(expected.pvalue))
    assert (found.n, found.attainable) == (32, pytest.approx(1 / 32))


def test_many_units_are_drawn_and_the_identity_is_among_them():
    found = sign_flips(np.full(20, 1.0).tolist())
    assert not found.exact
    assert found.p_value == pytest.approx(1 / found.n)


def false_alarms(trials: int) -> float:
    rng = np.random.default_rng(0)
    pairs = ((distances(rng.standard_normal(5)), distances(rng.standard_normal(5))) for _ in range(trials))
    return float(np.mean([mantel(a, b).p_value <= 0.05 for a, b in pairs]))


def test_a_true_null_is_rejected_no_more_often_than_said():
    assert false_alarms(100) <= 0.12  # binomial(100, 0.05) is above with probability 0.002


@pytest.mark.slow
def test_a_true_null_is_rejected_no_more_often_than_said_in_full():
    assert false_alarms(3000) <= 0.06


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relabelled(lambda order: 0.0, 1), "two units or more; got 1"),
        (lambda: mantel(np.ones((3, 2)), np.ones((3, 2))), r"two square matrices .* got \(3, 2\)"),
        (lambda: mantel(np.ones((2, 2)), np.ones((2, 2))), "three units or more"),
    ],
)
def test_too_little_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_test_of_a_sign_can_speak_for_either_sign():
    """Of 2⁸ signs one makes the sum of eight negative values as small as it is."""
    found = sign_flips([-0.1, -0.2, -0.3, -0.15, -0.12, -0.3, -0.2, -0.1])
    assert (found.p_value, found.p_negative) == (1.0, 1 / 256)
    interval = found.interval(8, largest=inf)
    assert (interval.low, interval.estimate) == (-inf, found.statistic)
    assert -1e-300 < interval.high < 0
    assert interval.p_value(0.0) == pytest.approx(2 / 256)
    verdict = Evidence("a source", "here", "f", "tasks").above(0.0, interval, "It is better.", "difference [1]")
    assert verdict.answer == "does not hold here"


def test_of_no_order_at_all_either_sign_is_said_as_rarely_as_the_level_allows():
    rng = np.random.default_rng(0)
    said = {"above": 0, "below": 0}
    for _ in range(400):
        found = sign_flips(rng.standard_normal(7).tolist()).interval(7)
        said["above"] += found.low > 0
        said["below"] += found.high < 0
    assert max(said.values()) / 400 <= 0.025 + 3.5 * (0.025 * 0.975 / 400) ** 0.5
    assert min(said.values()) > 0
