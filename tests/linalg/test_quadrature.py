"""Stochastic Lanczos quadrature: exact moments per probe, exact density where the Krylov space is the whole space."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import pytest
import torch

from lab.linalg import Diagonal, Identity, MarchenkoPastur, Matrix, spectral_density


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_integrates_to_one_and_matches_moments():
    X = gaussian(300, 300)
    A = Matrix((X + X.T) / sqrt(600))
    density = spectral_density(A, n_probes=8, n_steps=40)
    assert float(torch.trapezoid(density.density, density.grid)) == pytest.approx(1.0, abs=2e-3)
    torch.testing.assert_close(density.weights.sum(dim=1), torch.ones(8, dtype=torch.float64))
    for power in (1, 2, 3):
        value, error = density.expectation(lambda x, p=power: x**p)
        truth = float(torch.linalg.matrix_power(A.matrix, power).trace()) / 300
        assert abs(value - truth) < 4 * error + 1e-12
    assert density.products == 8 * 40


def test_marchenko_pastur_is_found():
    """The density of XXᵀ/n, smoothed with the same kernel, within the reported error."""
    m, n = 400, 800
    X = Matrix(gaussian(m, n, seed=3))
    density = spectral_density(X @ X.T * (1 / n), n_probes=10, n_steps=60, width=0.05)
    law = MarchenkoPastur(m / n)
    x = np.linspace(*law.edges, 4001)
    kernel = np.exp(-0.5 * ((density.grid.numpy()[:, None] - x) / 0.05) ** 2) / (0.05 * sqrt(2 * pi))
    smoothed = np.trapezoid(kernel * law.density(x), x, axis=1)
    error = np.abs(density.density.numpy() - smoothed)
    assert (error <= 5 * density.standard_error.numpy() + 0.01).all()  # 0.01: one matrix against its limit law
    assert float(density.standard_error.max()) < 0.1


def test_one_eigenvalue():
    density = spectral_density(Identity(30, dtype=torch.float64), n_probes=2, n_steps=5)
    assert float(density.grid[density.density.argmax()]) == pytest.approx(1.0, abs=1e-3)
    assert density.expectation(torch.exp) == pytest.approx((np.e, 0.0), abs=1e-12)


def test_grid_and_width_are_the_callers():
    grid = torch.linspace(-1, 3, 11, dtype=torch.float64)
    A = Diagonal(torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64))
    density = spectral_density(A, grid=grid, width=0.3, n_probes=1)
    assert density.grid is grid
    assert density.width == 0.3
    assert not density.standard_error.any()
    nodes = density.nodes[0]
    torch.testing.assert_close(nodes, torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64), rtol=0, atol=1e-12)
    again = spectral_density(A, grid=grid, width=0.3, n_probes=1)
    assert torch.equal(again.density, density.density)


def test_misuse_is_named():
    with pytest.raises(ValueError, match="a spectral density needs a square operator"):
        spectral_density(Matrix(gaussian(3, 4)))
    with pytest.raises(ValueError, match="n_probes must be an int >= 1; got 0"):
        spectral_density(Identity(3), n_probes=0)
    with pytest.raises(ValueError, match="width must be > 0"):
        spectral_density(Identity(3), width=0.0)
