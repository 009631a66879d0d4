"""Principal angles: small ones to full relative accuracy, invariance, and the null of random subspaces."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

from lab.linalg import principal_angles, random_angle_band, random_angles


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_planted_angles_of_all_sizes():
    planted = torch.tensor([1e-14, 1e-9, 1e-4, 0.5, pi / 4, 1.2, pi / 2 - 1e-9, pi / 2], dtype=torch.float64)
    k = len(planted)
    Q = torch.linalg.qr(gaussian(40, 2 * k)).Q
    U, V = Q[:, :k], Q[:, :k] * planted.cos() + Q[:, k:] * planted.sin()
    G, H = gaussian(k, k, seed=1), gaussian(k, k, seed=2)
    found = principal_angles(U, V)
    assert float((found - planted).abs().max()) < 1e-14
    mixed = principal_angles(U @ torch.linalg.qr(G).Q, V @ torch.linalg.qr(H).Q)
    assert float((mixed - planted).abs().max()) < 1e-14


@settings(max_examples=40, deadline=None, derandomize=True)
@given(n=st.integers(1, 9), data=st.data())
def test_equals_scipy_and_is_symmetric(n, data):
    k, l = data.draw(st.integers(1, n)), data.draw(st.integers(1, n))
    U, V = gaussian(n, k, seed=k), gaussian(n, l, seed=10 + l)
    theirs = np.sort(subspace_angles(U.numpy(), V.numpy()))
    np.testing.assert_allclose(principal_angles(U, V), theirs, atol=1e-7)  # scipy gives 3e-8 where the angle is 0
    assert int((principal_angles(U, V) < 1e-14).sum()) >= min(k + l - n, min(k, l))  # they must meet in so many lines
    torch.testing.assert_close(principal_angles(V, U), principal_angles(U, V), rtol=0, atol=1e-12)


def test_columns_of_any_scale():
    U, V = gaussian(20, 3), gaussian(20, 3, seed=1)
    scale = torch.tensor([1e-150, 1.0, 1e150], dtype=torch.float64)
    torch.testing.assert_close(principal_angles(U * scale, V), principal_angles(U, V), rtol=0, atol=1e-12)


def test_random_subspaces_have_the_expected_overlap():
    """E Σ cos² = k·l/n."""
    samples = random_angles(50, 4, 6, n_samples=400)
    assert samples.shape == (400, 4)
    assert float(samples.cos().square().sum(dim=1).mean()) == pytest.approx(4 * 6 / 50, rel=0.05)
    low, high = random_angle_band(50, 4, 6, n_samples=400)
    fresh = random_angles(50, 4, 6, n_samples=400, generator=1)
    inside = ((fresh >= low) & (fresh <= high)).double().mean(dim=0)
    assert bool((inside > 0.9).all())
    assert torch.equal(random_angles(9, 2, 2, n_samples=3), random_angles(9, 2, 2, n_samples=3))


def test_misuse_is_named():
    with pytest.raises(ValueError, match="must live in one space; got 5 and 6 rows"):
        principal_angles(gaussian(5, 2), gaussian(6, 2))
    with pytest.raises(ValueError, match="columns of V are linearly dependent"):
        principal_angles(gaussian(5, 2), torch.ones(5, 2))
    with pytest.raises(ValueError, match=r"U must be a basis \(n, k\) with k <= n"):
        principal_angles(gaussian(2, 5), gaussian(2, 1))
    with pytest.raises(ValueError, match="V has non-finite entries"):
        principal_angles(gaussian(3, 1), torch.full((3, 1), float("nan")))
    with pytest.raises(ValueError, match=r"subspaces of R\^3 have dimension at most 3"):
        random_angles(3, 4, 1)
    with pytest.raises(ValueError, match=r"confidence must lie in \(0, 1\)"):
        random_angle_band(3, 1, 1, confidence=1.0)
