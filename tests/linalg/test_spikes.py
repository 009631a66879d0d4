"""The spiked model: known answers, inverse maps, and random matrices."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch

from lab.linalg import RankOneUpdate, gaussian_singular_values, spike_forward, spike_inverse, spike_threshold


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


@pytest.mark.parametrize(("m", "n"), [(30, 45), (45, 30), (20, 20)])
def test_rank_one_update_is_exact(m, n):
    """Every singular value of W + θuvᵀ satisfies the secular equation; θ, ⟨u, û⟩ and max ⟨u_i, û⟩ are recovered."""
    W, u, v, theta = noise(m, n, 3), unit(m, 1), unit(n, 2), 1.7
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    update = RankOneUpdate(S.numpy(), (U.T @ u).numpy(), (Vh @ v).numpy())
    U1, S1, _ = torch.linalg.svd(W + theta * torch.outer(u, v), full_matrices=False)
    strength, own, nearest = update.at(S1.numpy())
    root = np.nanargmin(np.abs(strength - theta), axis=0)  # one of the two branches is the update at hand
    columns = np.arange(len(S1))
    np.testing.assert_allclose(strength[root, columns], theta, rtol=1e-7)
    np.testing.assert_allclose(own[root, columns], (U1.T @ u).numpy() ** 2, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(nearest[root, columns], ((U.T @ U1) ** 2).max(dim=0).values, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize(("m", "n"), [(400, 800), (800, 400), (500, 500)])
def test_general_position_has_the_closed_form_as_its_limit(m, n):
    values = gaussian_singular_values(m, n, 1 / sqrt(n))
    rng = np.random.default_rng(0)
    for theta in (2 * spike_threshold(m / n), 4.0):
        truth = spike_forward(theta, m / n)
        draws = [RankOneUpdate.in_general_position(values, (m, n), rng).at([truth.sigma]) for _ in range(20)]
        assert np.mean([t[0, 0] for t, _, _ in draws]) == pytest.approx(theta, rel=0.02)
        assert np.mean([own[0, 0] for _, own, _ in draws]) == pytest.approx(truth.cos2_left, abs=0.02)


def test_no_spike_reaches_where_none_can():
    """One direction, u = v = that of W = 2: σ = 2 + θ, so ρ < 2 needs a negative θ."""
    update = RankOneUpdate(np.array([2.0]), np.array([1.0]), np.array([1.0]))
    strength, own, nearest = update.at([3.0, 1.5])
    assert strength[0, 0] == pytest.approx(1.0)
    assert np.isnan(strength[0, 1])
    assert own[0, 0] == pytest.approx(1.0)
    assert nearest[0, 0] == pytest.approx(1.0)


def test_misuse_is_named():
    with pytest.raises(ValueError, match="the aspect ratio c = m/n must be > 0"):
        spike_threshold(0)
    with pytest.raises(ValueError, match="a spike's strength must be >= 0"):
        spike_forward(-1, 1)
    with pytest.raises(ValueError, match="must be vectors of one length"):
        RankOneUpdate(np.ones(2), np.ones(3), np.ones(2))
