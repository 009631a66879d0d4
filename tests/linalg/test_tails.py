"""Power-law tails: the exponent and the beginning of a planted tail are found, and small samples are refused."""

from __future__ import annotations

import numpy as np
import pytest

from lab.linalg import power_law_tail


def test_planted_exponent():
    rng = np.random.default_rng(0)
    x = (1 - rng.random(4000)) ** (-1 / 1.5)  # density 1.5 x^−2.5 on [1, ∞)
    tail = power_law_tail(x)
    assert abs(tail.alpha - 2.5) < 4 * tail.standard_error
    assert tail.standard_error == pytest.approx((tail.alpha - 1) / np.sqrt(tail.n_tail))
    assert tail.distance < 0.02


def test_planted_beginning():
    rng = np.random.default_rng(1)
    body, tail = rng.random(2000) * 5, 5 * (1 - rng.random(2000)) ** (-1 / 2)
    found = power_law_tail(np.concatenate([body, tail]))
    assert found.x_min == pytest.approx(5, rel=0.15)
    assert found.alpha == pytest.approx(3, rel=0.1)


def test_exact_maximum_likelihood():
    """Values e^{i/n}: Σ ln(x/x_min) by hand for the whole sample, when no shorter tail is allowed."""
    x = np.exp(np.arange(60) / 60)
    tail = power_law_tail(x, min_tail=60)
    assert tail.alpha == pytest.approx(1 + 60 / (59 / 2))
    assert (tail.x_min, tail.n_tail) == (1.0, 60)


def test_scale_invariance_and_uselessness_on_too_few():
    x = np.random.default_rng(2).pareto(2, 300) + 1
    a, b = power_law_tail(x), power_law_tail(1e6 * x)
    assert a.alpha == pytest.approx(b.alpha)
    assert a.n_tail == b.n_tail
    assert power_law_tail(x[:49]) is None
    assert power_law_tail(np.ones(100)) is None
    assert power_law_tail(np.zeros(100)) is None
    assert power_law_tail(np.concatenate([x[:40], np.zeros(60)])) is None


def test_misuse_is_named():
    with pytest.raises(ValueError, match="1 of 3 are not"):
        power_law_tail([1.0, np.nan, 2.0])
    with pytest.raises(ValueError, match="min_tail must be >= 2"):
        power_law_tail([1.0], min_tail=1)
