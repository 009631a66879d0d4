"""The bound against its definition, and against all classifiers of a small class."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest

from lab.geometry import compression_bound


def test_known_values():
    assert compression_bound(0, 50) == pytest.approx(sqrt(log(20) / 100))
    assert compression_bound(8, 100, n_values=4, failure=0.5) == pytest.approx(sqrt((8 * log(4) + log(2)) / 200))
    # √(d/n): four times the parameters or a quarter of the examples double it, once ln(1/δ) is small beside d ln r
    assert compression_bound(40_000, 100) / compression_bound(10_000, 100) == pytest.approx(2, rel=1e-4)
    assert compression_bound(10_000, 25) / compression_bound(10_000, 100) == pytest.approx(2)


def test_the_largest_gap_of_a_class_exceeds_it_as_rarely_as_promised():
    # r^d = 2^6 classifiers with independent errors: the worst case of the union bound
    rng = np.random.default_rng(0)
    n, truth = 40, rng.uniform(0.2, 0.8, 64)
    gaps = truth - rng.binomial(n, truth, size=(2000, 64)) / n
    exceeded = (gaps.max(axis=1) > compression_bound(6, n, n_values=2, failure=0.2)).mean()
    assert 0 < exceeded <= 0.2


@pytest.mark.parametrize("bad", [{"d": -1}, {"n": 0}, {"n_values": 1}, {"failure": 1.0}])
def test_misuse_is_refused(bad):
    with pytest.raises(ValueError, match="the bound needs d >= 0"):
        compression_bound(**({"d": 1, "n": 1} | bad))
