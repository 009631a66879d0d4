"""Angles of leading subspaces: planted ones come back, random ones lie in their band, the gauge does not matter."""

from __future__ import annotations

from math import cos, radians, sin

import numpy as np
import pytest
import torch

from lab.geometry import randomly_turned, subspace_angles, subspace_similarity
from lab.linalg import LowRank, Spectrum


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_planted_angles_come_back():
    e = torch.eye(6, dtype=torch.float64)
    A = 2 * torch.outer(e[:, 3], e[:, 0]) + torch.outer(e[:, 4], e[:, 1])
    tilted = [cos(radians(a)) * e[:, i] + sin(radians(a)) * e[:, i + 2] for i, a in ((0, 10.0), (1, 60.0))]
    B = 3 * torch.outer(e[:, 3], tilted[0]) + torch.outer(e[:, 5], tilted[1])
    found = subspace_angles(A, B, 2)
    np.testing.assert_allclose(found["angle"], [10.0, 60.0], atol=1e-10)
    np.testing.assert_allclose(subspace_angles(A, B, 2, side="left")["angle"], [0.0, 90.0], atol=1e-6)


def test_squared_cosines_sum_to_the_similarity_and_ignore_the_gauge():
    B, A, G = gaussian(9, 3), gaussian(3, 7, seed=1), gaussian(3, 3, seed=2)
    other = gaussian(9, 7, seed=3)
    for side in ("left", "right"):
        found = subspace_angles(LowRank(B, A), other, 3, side=side)
        phi = subspace_similarity(LowRank(B, A), other, side=side).grid[2, 2]
        assert np.cos(np.radians(found["angle"])).pow(2).sum() == pytest.approx(3 * phi)
        turned = subspace_angles(LowRank(B @ torch.linalg.inv(G), G @ A), other, 3, side=side)
        np.testing.assert_allclose(turned["angle"], found["angle"], atol=1e-9)


def test_random_matrices_lie_in_their_band():
    inside = []
    for seed in range(20):
        found = subspace_angles(gaussian(40, 40, seed=seed), gaussian(40, 40, seed=100 + seed), 4)
        inside += list((found["angle"] >= found["null_low"]) & (found["angle"] <= found["null_high"]))
    assert np.mean(inside) > 0.88


def test_a_smaller_rank_gives_fewer_angles_and_a_zero_matrix_none():
    rank_one = LowRank(gaussian(8, 1), gaussian(1, 8, seed=1))
    assert len(subspace_angles(rank_one, gaussian(8, 8), 4)) == 1
    empty = subspace_angles(torch.zeros(8, 8, dtype=torch.float64), gaussian(8, 8), 4)
    assert empty.empty
    assert list(empty.columns) == ["index", "angle", "null_low", "null_high"]


def test_misuse_is_named():
    with pytest.raises(ValueError, match="k must be >= 1; got 0"):
        subspace_angles(gaussian(3, 3), gaussian(3, 3), 0)
    with pytest.raises(ValueError, match=r"left singular vectors live in R\^3 and R\^4"):
        subspace_angles(gaussian(3, 3), gaussian(4, 3), 1, side="left")


def test_turning_keeps_the_values_and_forgets_the_directions():
    spectrum = Spectrum.of(gaussian(30, 20), vectors=True)
    turned = Spectrum.of(randomly_turned(spectrum, seed=1), vectors=True)
    np.testing.assert_allclose(turned.values, spectrum.values, rtol=1e-12)
    found = subspace_angles(turned, spectrum, 3)
    assert (found["angle"] > 40).all()
    assert torch.equal(randomly_turned(spectrum, seed=1).left, randomly_turned(spectrum, seed=1).left)
