"""Monotone fits against scipy; levels by hand."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from lab.statistics.monotone import monotone_fit, reached_at


def test_the_fit_is_that_of_scipy():
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 30):
        means, weights = rng.standard_normal(n), rng.integers(1, 5, n).astype(float)
        assert monotone_fit(means, weights) == pytest.approx(isotonic_regression(means, weights=weights).x)


def test_a_level_is_reached_on_a_straight_line_in_log_x():
    assert reached_at([1, 100], [0.0, 1.0], 0.5) == pytest.approx(10)
    assert reached_at([4, 9, 81], [0.1, 0.2, 0.4], 0.2) == pytest.approx(9)
    assert reached_at([4, 9], [0.1, 0.3], 0.2) == pytest.approx(4 * sqrt(9 / 4))


def test_a_level_at_an_end_or_never():
    assert reached_at([2, 8], [0.5, 0.9], 0.4) == 2
    assert reached_at([2, 8], [0.5, 0.9], 0.95) is None
