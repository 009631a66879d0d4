"""Holm's adjustment by hand, and the error it bounds."""

from __future__ import annotations

import numpy as np
import pytest

from lab.statistics import expected_false, holm


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
