"""The spiked model: known answers, inverse maps, and random matrices."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch

from lab.linalg import Bulk, gaussian_singular_values, spike_forward, spike_inverse, spike_threshold


def noise(m: int, n: int, seed: int) -> torch.Tensor:
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / sqrt(n)


def unit(n: int, seed: int) -> torch.Tensor:
    x = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x / x.norm()


def test_square_known_answer():
    """c = 1, θ = 2: σ = 5·5/(2·5) = 2.5 and cos² = 1 − 1·5/(4·5) = 0.75 on both sides."""
    spike = spike_forward(2.0, 1.0)
    assert (spike.sigma, spike.cos2_left, spike.cos2_right) == (2.5, 0.75, 0.75)
    assert spike_threshold(16.0) == 2.0


@pytest.mark.parametrize("c", [0.25, 1.0, 3.0])
def test_continuous_at_the_threshold_and_inverted_above_it(c):
    below, above = spike_forward(spike_threshold(c), c), spike_forward(spike_threshold(c) * (1 + 1e-9), c)
    assert not below.detached
    assert above.detached
    assert above.sigma == pytest.approx(below.sigma, abs=1e-7)
    assert (above.cos2_left, above.cos2_right) == pytest.approx((0, 0), abs=1e-7)
    for theta in (1.1 * spike_threshold(c), 3.0, 50.0):
        assert spike_inverse(spike_forward(theta, c).sigma, c) == pytest.approx(theta, rel=1e-10)
    assert spike_inverse(1 + sqrt(c), c) == 0


@pytest.mark.parametrize(("m", "n"), [(300, 600), (600, 300)])
def test_on_random_matrices(m, n):
    theta, c = 2.5, m / n
    sigmas, left, right = [], [], []
    for seed in range(4):
        u, v = unit(m, 100 + seed), unit(n, 200 + seed)
        U, S, Vh = torch.linalg.svd(noise(m, n, seed) + theta * torch.outer(u, v), full_matrices=False)
        sigmas.append(float(S[0]))
        left.append(float(U[:, 0] @ u) ** 2)
        right.append(float(Vh[0] @ v) ** 2)
    truth = spike_forward(theta, c)
    # fluctuations are O(n^{-1/2}) ≈ 0.05, averaged over 4
    assert np.mean(sigmas) == pytest.approx(truth.sigma, abs=0.06)
    assert np.mean(left) == pytest.approx(truth.cos2_left, abs=0.04)
    assert np.mean(right) == pytest.approx(truth.cos2_right, abs=0.04)


@pytest.mark.parametrize(("m", "n"), [(400, 800), (800, 400), (500, 500)])
def test_empirical_bulk_agrees_with_the_closed_form(m, n):
    """Given the Marchenko–Pastur values as bulk, the transforms reproduce σ(θ) and |⟨u, û⟩|²."""
    bulk = Bulk(gaussian_singular_values(m, n, 1 / sqrt(n)), (m, n))
    for theta in (1.5 * spike_threshold(m / n), 3.0):
        truth = spike_forward(theta, m / n)
        assert float(bulk.strength(truth.sigma)) == pytest.approx(theta, rel=2e-3)
        own, others = bulk.overlaps(truth.sigma)
        assert own == pytest.approx(truth.cos2_left, abs=5e-3)
        assert others.shape == (min(m, n),)


def test_overlaps_with_the_bulk_are_a_probability():
    """For m ≤ n the weights on W's left vectors sum to 1 (they are a basis)."""
    values = torch.linalg.svdvals(noise(60, 90, 0)).numpy()
    own, others = Bulk(values, (60, 90)).overlaps(values[0] * 1.3)
    assert others.sum() == pytest.approx(1.0)
    assert others.argmax() == 0
    assert 0 < own < 1


def test_no_spike_below_the_first_pole():
    bulk = Bulk(np.array([2.0, 1.0]), (2, 2))
    assert np.isnan(bulk.strength(0.5))
    assert bulk.strength(np.array([10.0])).shape == (1,)
    assert float(bulk.strength(1e6)) == pytest.approx(1e6, rel=1e-6)


def test_misuse_is_named():
    with pytest.raises(ValueError, match="the aspect ratio c = m/n must be > 0"):
        spike_threshold(0)
    with pytest.raises(ValueError, match="a spike's strength must be >= 0"):
        spike_forward(-1, 1)
    with pytest.raises(ValueError, match="needs all 2 singular values, decreasing"):
        Bulk(np.array([1.0, 2.0]), (2, 2))
