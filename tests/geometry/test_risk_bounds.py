"""Bounds from short descriptions against closed forms, each other, and the errors they bound."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch

from lab.geometry.quantised import Quantised, quantised
from lab.geometry.risk_bounds import catoni_bound, description_cost, kl_bound, occam_bound


def test_without_a_description_and_without_an_error():
    """kl(0‖R) = −ln(1 − R) ≤ ln 20/50."""
    assert kl_bound(0.0, 50) == pytest.approx(1 - 0.05 ** (1 / 50)) == pytest.approx(0.0582, abs=5e-5)
    assert occam_bound(0.0, 50) == pytest.approx(0.1731, abs=5e-5)
    assert description_cost(0) == 0.0
    assert description_cost(1000) == pytest.approx(1000 * log(2) + 2 * log(1000))


@pytest.mark.parametrize("error", [0.0, 0.03, 0.25, 0.5])
@pytest.mark.parametrize("bits", [0, 10, 300])
def test_the_kl_form_is_the_smallest_of_the_three(error, bits):
    n, cost = 400, description_cost(bits)
    tight = kl_bound(error, n, cost)
    assert error < tight <= min(1.0, occam_bound(error, n, cost)) + 1e-12
    assert tight <= catoni_bound(error, n, cost) + 1e-12
    best = min(
        (1 - exp(-beta * error - (cost + log(20)) / n)) / (1 - exp(-beta)) for beta in np.geomspace(1e-3, 40, 4000)
    )
    assert tight == pytest.approx(min(best, 1.0), rel=1e-4)  # Catoni's over all β is the inverse of kl


def test_bounds_grow_with_error_and_description_and_fall_with_examples():
    for bound in (kl_bound, occam_bound, catoni_bound):
        assert bound(0.1, 500, 20.0) < bound(0.2, 500, 20.0)
        assert bound(0.1, 500, 20.0) < bound(0.1, 500, 40.0)
        assert bound(0.1, 1000, 20.0) < bound(0.1, 500, 20.0)
    assert kl_bound(0.3, 10, 1e6) == 1.0
    assert kl_bound(1.0, 10) == 1.0


def test_the_bound_fails_no_more_often_than_it_says():
    """A thousand classifiers of error 0.3, one bit sequence each of ten bits; the best on 200 examples is taken."""
    rng, n, n_classifiers = np.random.default_rng(0), 200, 1000
    cost, failures = log(n_classifiers), 0
    for _ in range(300):
        best = rng.binomial(n, 0.3, n_classifiers).min() / n
        failures += kl_bound(best, n, cost) < 0.3
    assert failures / 300 <= 0.05


@pytest.mark.parametrize(
    ("given", "message"),
    [({"error": 1.2, "n": 5}, "0 <= error <= 1"), ({"error": 0.1, "n": 0}, "n >= 1"),
     ({"error": 0.1, "n": 5, "cost": -1.0}, "cost >= 0")],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        kl_bound(**given)
    with pytest.raises(ValueError, match="0 bits or more"):
        description_cost(-1)
    with pytest.raises(ValueError, match="positive betas"):
        catoni_bound(0.1, 5, betas=(0.0,))


def test_bits_by_hand():
    """Eight coordinates, half of them at each of two levels: ⌈8·1⌉ + 1 + 2·(16 + ⌈log₂ 8⌉) = 47."""
    two = Quantised(torch.tensor([0, 1] * 4), torch.tensor([-1.0, 1.0]))
    assert (two.entropy, two.bits) == (1.0, 47)
    one = Quantised(torch.zeros(8, dtype=torch.long), torch.tensor([0.5]))
    assert (one.entropy, one.bits) == (0.0, 1 + 16 + 3)


def test_few_values_are_written_exactly_and_many_by_their_nearest_level():
    x = torch.tensor([0.5, -0.25, 0.5, 2.0, -0.25], dtype=torch.float64)
    assert torch.equal(quantised(x, 3).values, x)
    normal = torch.randn(2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = quantised(normal, 7)
    distances = (normal[:, None] - found.levels).abs()
    assert torch.equal(distances.argmin(dim=1), found.codes)
    assert int(found.counts.sum()) == 2000
    assert 2.0 < found.entropy < np.log2(7)


def test_two_levels_of_a_normal_are_its_half_means():
    """Lloyd 1982: ±√(2/π) for the standard normal, distortion 1 − 2/π."""
    normal = torch.randn(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = quantised(normal, 2)
    assert found.levels.abs().tolist() == pytest.approx([(2 / np.pi) ** 0.5] * 2, abs=5e-3)
    assert float((normal - found.values).square().mean()) == pytest.approx(1 - 2 / np.pi, abs=5e-3)


def test_more_levels_never_fit_worse():
    x = torch.randn(300, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) ** 3
    errors = [float((x - quantised(x, n).values).square().sum()) for n in (1, 2, 4, 8, 16)]
    assert errors == sorted(errors, reverse=True)


def test_what_cannot_be_quantised_is_refused():
    with pytest.raises(ValueError, match="a vector and one level or more"):
        quantised(torch.ones(2, 2), 2)
    with pytest.raises(ValueError, match="finite in half precision"):
        quantised(torch.tensor([1e6]), 2)
