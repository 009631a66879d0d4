"""What is particular to the Gaussian, the sparse and the one-hot projection; and their two paths, numba and torch."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.projections import Gaussian, OneHot, Sparse


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(P) -> torch.Tensor:
    return P @ torch.eye(P.d, dtype=torch.float64)


@pytest.mark.parametrize(("D", "d"), [(50, 3), (1000, 100), (6000, 5000)])
def test_gaussian_paths_draw_the_same_matrix(D, d):
    P = Gaussian(D, d, seed=1)
    like = torch.zeros(1, dtype=torch.float64)
    assert torch.equal(P._drawn_by_kernel(7, 30, like), P._drawn_by_torch(7, 30, like))


def test_gaussian_does_not_depend_on_the_chunks(monkeypatch):
    P, x = Gaussian(3000, 100), draw(100)
    whole = P @ x
    monkeypatch.setattr("lab.projections.gaussian.CHUNK", 777)
    assert torch.allclose(P @ x, whole, rtol=0, atol=1e-14)


def test_gaussian_entries():
    entries = dense(Gaussian(2000, 50)) * 2000**0.5
    assert abs(entries.mean()) < 5 / entries.numel() ** 0.5
    assert abs(entries.var() - 1) < 5 * (2 / entries.numel()) ** 0.5
    gram = entries.T @ entries / 2000 - torch.eye(50, dtype=torch.float64)
    assert gram.abs().max() < 6 / 2000**0.5 * 2**0.5


@pytest.mark.parametrize(("D", "d", "density"), [(50, 3, None), (1000, 100, None), (9999, 7, 0.01), (64, 64, 1.0)])
def test_sparse_paths_agree(D, d, density):
    P, X, Y = Sparse(D, d, seed=1, density=density), draw(d, 3), draw(D, 3)
    assert torch.allclose(P._spread_by_kernel(X), P._spread_by_torch(X), rtol=0, atol=1e-13)
    assert torch.allclose(P._collect_by_kernel(Y), P._collect_by_torch(Y), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("D", "density", "m"), [(400, None, 20), (401, None, 21), (1000, 0.05, 50), (30, 1.0, 30)])
def test_sparse_columns_have_m_entries_one_in_each_stratum(D, density, m):
    P = Sparse(D, 5, density=density)
    entries = dense(P)
    assert P.nonzeros == m
    assert torch.equal((entries != 0).sum(0), torch.full((5,), m))
    assert torch.allclose(entries.abs().sum(0), torch.full((5,), m**0.5, dtype=torch.float64))
    bounds = [stratum * D // m for stratum in range(m + 1)]
    for begin, end in pairwise(bounds):
        assert torch.equal((entries[begin:end] != 0).sum(0), torch.ones(5, dtype=torch.int64))


@pytest.mark.parametrize("density", [0, -0.1, 1.5])
def test_sparse_refuses_other_densities(density):
    with pytest.raises(ValueError, match=r"density must lie in \(0, 1\], or be None for 1/sqrt\(D\); got"):
        Sparse(10, 2, density=density)


@pytest.mark.parametrize("signed", [True, False])
@given(data=st.data())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_one_hot_is_an_isometry_with_balanced_columns(signed, data):
    D = data.draw(st.integers(1, 400))
    d = data.draw(st.integers(1, D))
    matrix = dense(OneHot(D, d, seed=data.draw(st.integers(0, 99)), signed=signed))
    counts = (matrix != 0).sum(0)
    assert torch.equal((matrix != 0).sum(1), torch.ones(D, dtype=torch.int64))
    assert set(counts.tolist()) <= {D // d, -(-D // d)}
    assert torch.allclose(matrix.abs() * counts.double().sqrt(), (matrix != 0).double(), rtol=0, atol=1e-14)
    assert torch.allclose(matrix.T @ matrix, torch.eye(d, dtype=torch.float64), rtol=0, atol=1e-14)
    assert signed or (matrix >= 0).all()


def test_one_hot_is_an_exact_isometry_at_scale():
    # 20,000 = 30 stretches of 640 and a part of one: counts 31 and 32; Pᵀ P x = x to rounding
    P, x = OneHot(20_000, 640), draw(640)
    assert torch.allclose(P.T @ (P @ x), x, rtol=0, atol=1e-14 * 32)


@pytest.mark.parametrize(("D", "d"), [(7, 7), (50, 3), (1000, 100), (20_000, 9000), (100, 1)])
@pytest.mark.parametrize("signed", [True, False])
def test_one_hot_paths_agree(D, d, signed):
    P, X, Y = OneHot(D, d, seed=1, signed=signed), draw(d, 3), draw(D, 3)
    scale = P._scale(X)[:, None]
    assert torch.allclose(P._spread_by_kernel(X), P._spread_by_torch(X * scale), rtol=0, atol=1e-14)
    assert torch.allclose(P._collect_by_kernel(Y), P._collect_by_torch(Y) * scale, rtol=0, atol=1e-12)


def test_one_hot_columns_are_spread_evenly():
    # which column row i meets is uniform over seeds
    columns = torch.stack([dense(OneHot(12, 6, seed=seed)).abs().argmax(1) for seed in range(1200)])
    for row in columns.T:
        counts = torch.bincount(row, minlength=6).double()
        assert ((counts - 200) ** 2 / 200).sum() < 25  # χ² with 5 degrees of freedom: p = 1e-4
