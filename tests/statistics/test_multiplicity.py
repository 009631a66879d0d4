"""Holm's adjustment by hand, and the error it bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from lab.statistics import error_of_looks, expected_false, holm


def test_adjusted_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04: no later one is smaller."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


def test_any_false_rejection_is_as_rare_as_said():
    p = np.random.default_rng(0).uniform(size=(4000, 6))
    assert np.mean([min(holm(row)) <= 0.05 for row in p]) == pytest.approx(0.05, abs=0.01)


def test_false_verdicts_expected_by_hand():
    assert expected_false(120, 0.95) == pytest.approx(3.0)


@pytest.mark.parametrize("p", [[-0.1], [1.1], [float("nan")]])
def test_what_is_no_p_is_refused(p):
    with pytest.raises(ValueError, match=r"p values lie in \[0, 1\]"):
        holm(p)


@pytest.mark.parametrize(("looks", "errs"), [(1, 0.05), (2, 0.083), (3, 0.107)])
def test_every_look_errs_more(looks, errs):
    """What the page of claims says of seeds added after a look; of nominal 5 %, with as many at every look."""
    sums = np.random.default_rng(0).standard_normal((looks, 400_000)).cumsum(0)
    beyond = np.abs(sums) > 1.96 * np.sqrt(np.arange(1, looks + 1))[:, None]
    assert beyond.any(0).mean() == pytest.approx(errs, abs=0.0015)


@pytest.mark.parametrize("sizes", [(5, 16), (8, 24), (8, 24, 36), (8, 9), (5, 1000)])
def test_whatever_the_looks_they_err_no_more_than_independent_ones(sizes):
    """Student's t of more and more seeds, on a quantity that lies on its threshold."""
    x = np.random.default_rng(1).standard_normal((20_000, sizes[-1]))
    beyond = [
        np.abs(x[:, :n].mean(1)) > student.ppf(0.975, n - 1) * x[:, :n].std(1, ddof=1) / np.sqrt(n) for n in sizes
    ]
    error = np.any(beyond, axis=0).mean()
    assert 0.05 < error < error_of_looks(len(sizes), 0.95) + 0.005


def test_one_look_errs_as_an_interval_does():
    assert error_of_looks(1, 0.95) == pytest.approx(0.05)
    assert error_of_looks(3, 0.95) == pytest.approx(0.142625)
    with pytest.raises(ValueError, match="a question is looked at once or more; got 0"):
        error_of_looks(0, 0.95)


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("far", [0.0, 2.0, 20.0])
def test_no_family_goes_for_the_wrong_side_more_often_than_said(shared, far):
    """Eight statements over ten seeds, four of them a hair off their thresholds, four `far` standard errors away."""
    rng, n, m, trials = np.random.default_rng(2), 10, 8, 3000
    truth = np.where(np.arange(m) < m // 2, 1e-9, far / np.sqrt(n))
    noise = np.sqrt(shared) * rng.standard_normal((trials, n, 1))
    x = truth + noise + np.sqrt(1 - shared) * rng.standard_normal((trials, n, m))
    statistic = x.mean(1) / (x.std(1, ddof=1) / np.sqrt(n))
    p = 2 * student.sf(np.abs(statistic), n - 1)
    wrong = [bool(((np.array(holm(own)) <= 0.05) & (t < 0)).any()) for own, t in zip(p, statistic, strict=True)]
    assert np.mean(wrong) < 0.05
