"""What is particular to the Gaussian, the sparse and the one-hot projection; and their two paths, numba and torch."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.linalg import Layout, Part
from lab.projections import Gaussian, Kronecker, OneHot, Sparse, counter
from lab.projections.gaussian import gaussian_rows


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(P) -> torch.Tensor:
    return P @ torch.eye(P.d, dtype=torch.float64)


@pytest.mark.parametrize("width", [3, 100, 5000])
def test_kernel_and_torch_draw_the_same_gaussians(width):
    rows = gaussian_rows(99, 7, 30, width, torch.zeros(1, dtype=torch.float64))
    whole = -(-width // 4) * 4
    numbers = torch.arange(7 * whole, 37 * whole)
    assert torch.equal(rows, counter.gaussians(99, numbers, torch.float64).view(30, whole)[:, :width])


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


def test_kronecker_is_a_product_of_two_gaussians_in_every_matrix():
    layout = Layout((Part("a", (30, 20)), Part("bias", (7,)), Part("experts", (2, 6, 5))))
    P = Kronecker.over(layout, 11, seed=2)
    truth = []
    for i, part in enumerate(layout):
        U, V = P.factors(i, draw(1))
        assert (len(U), len(V)) == [(30, 20), (3, 3), (12, 5)][i]
        truth.append(torch.kron(U, V)[: part.size, :11])
    assert P.rank == 4
    assert torch.allclose(dense(P), torch.cat(truth), rtol=0, atol=1e-14)


def test_kronecker_factors_are_standard_gaussians_independent_of_each_other():
    P = Kronecker.over(Layout((Part("a", (3000, 2000)), Part("b", (3000, 2000)))), 64, seed=1)
    (U, V), (other, _) = P.factors(0, draw(1)), P.factors(1, draw(1))
    U, other = U * P.D**0.5, other * P.D**0.5
    for entries in (U, V, other):
        assert abs(entries.mean()) < 5 / entries.numel() ** 0.5
        assert abs(entries.var() - 1) < 5 * (2 / entries.numel()) ** 0.5
    for one, two in ((U, other), (U[:2000], V)):
        assert abs((one * two).mean()) < 5 / one.numel() ** 0.5


def test_kronecker_changes_have_rank_r():
    P = Kronecker.over(Layout((Part("a", (40, 30)),)), 25)
    assert torch.linalg.matrix_rank((P @ draw(25)).view(40, 30)) == P.rank == 5


def test_kronecker_shapes_that_do_not_fill_the_image_are_refused():
    with pytest.raises(ValueError, match=r"must hold D = 10 numbers; these hold 12\. Kronecker\.over\(layout, d\)"):
        Kronecker(10, 2, shapes=((3, 4),))
