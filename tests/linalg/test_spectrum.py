"""Spectra: LAPACK's backward-error ratio on awkward shapes, known scalars, invariance under the choice of factors."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.linalg import LowRank, Spectrum, require_finite


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def graded(n: int) -> torch.Tensor:
    scale = torch.logspace(0, -140, n, dtype=torch.float64)
    return scale[:, None] * gaussian(n, n) * scale


MATRICES = {
    "0×0": torch.zeros(0, 0),
    "0×5": torch.zeros(0, 5),
    "5×0": torch.zeros(5, 0),
    "1×1": torch.tensor([[-3.0]]),
    "1×7": gaussian(1, 7),
    "7×1": gaussian(7, 1),
    "zero": torch.zeros(6, 4),
    "rank 1": gaussian(20, 1) @ gaussian(1, 30),
    "wide": gaussian(20, 60),
    "tall float32": gaussian(60, 20).float(),
    "graded": graded(15),
    "huge": 1e300 * gaussian(6, 6) / 10,
    "tiny": 1e-300 * gaussian(6, 6),
    "bfloat16": gaussian(12, 9).bfloat16(),
}


@pytest.mark.parametrize("name", MATRICES)
def test_lapack_backward_error(name):
    """‖A − U S Vᵀ‖/(‖A‖·max(m, n)·eps) < 35, and orthogonality likewise: the thresholds of LAPACK's own tests."""
    A = MATRICES[name]
    m, n = A.shape
    spectrum = Spectrum.of(A, vectors=True)
    U, S, V = spectrum.left, spectrum.values, spectrum.right
    assert (U.shape, S.shape, V.shape) == ((m, min(m, n)), (min(m, n),), (n, min(m, n)))
    assert bool((S[1:] <= S[:-1]).all())
    assert bool((S >= 0).all())
    unit = max(m, n) * torch.finfo(torch.float64).eps
    scale = float(S[0]) if len(S) and S[0] > 0 else 1.0
    residual = (A.double() / scale - U @ torch.diag(S / scale) @ V.T).norm() if A.numel() else torch.tensor(0.0)
    assert float(residual) <= 35 * unit
    for basis in (U, V):
        defect = basis.T @ basis - torch.eye(min(m, n), dtype=torch.float64)
        assert not defect.numel() or float(defect.abs().max()) <= 35 * unit
    torch.testing.assert_close(Spectrum.of(A).values / scale, S / scale, rtol=0, atol=35 * unit)


def test_known_scalars():
    """σ = (2, 1, 1): 6/4, exp(½ ln 2 + ½ ln 4) = 2√2, 36/18."""
    s = Spectrum.of(torch.diag(torch.tensor([1.0, 2.0, 1.0])))
    assert s.values.tolist() == [2.0, 1.0, 1.0]
    assert s.stable_rank == 1.5
    assert s.effective_rank == pytest.approx(2 * sqrt(2), rel=1e-14)
    assert s.participation_ratio == 2.0
    assert s.spectral_norm == 2.0
    assert s.frobenius_norm == pytest.approx(sqrt(6))
    assert s.nuclear_norm == 4.0
    assert s.rank == 3
    assert s.noise_floor == 3 * torch.finfo(torch.float64).eps * 2
    assert [s.energy_rank(f) for f in (0.5, 0.66, 0.67, 0.9, 1.0)] == [1, 1, 2, 3, 3]


def test_equal_values_reach_the_fraction_exactly():
    flat = Spectrum(torch.ones(10, dtype=torch.float64), (10, 10))
    assert flat.energy_rank(0.9) == 9
    assert (flat.stable_rank, flat.participation_ratio) == (10, 10)
    assert flat.effective_rank == pytest.approx(10)


@pytest.mark.parametrize("name", ["0×0", "0×5", "5×0", "zero"])
def test_zero_matrices_have_zero_scalars(name):
    s = Spectrum.of(MATRICES[name])
    scalars = (s.stable_rank, s.effective_rank, s.participation_ratio, s.spectral_norm, s.frobenius_norm, s.rank)
    assert (*scalars, s.energy_rank(), s.noise_floor) == (0,) * 8


def test_scalars_do_not_overflow():
    reference, huge, tiny = (Spectrum.of(c * gaussian(6, 6)) for c in (1.0, 1e290, 1e-290))
    for s in (huge, tiny):
        assert s.stable_rank == pytest.approx(reference.stable_rank)
        assert s.participation_ratio == pytest.approx(reference.participation_ratio)
    assert huge.frobenius_norm == pytest.approx(1e290 * reference.frobenius_norm)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(m=st.integers(0, 8), n=st.integers(0, 8), r=st.integers(0, 10), seed=st.integers(0, 5))
def test_factors_equal_the_dense_product(m, n, r, seed):
    product = LowRank(gaussian(m, r, seed=seed), gaussian(r, n, seed=seed + 1))
    s = Spectrum.of(product, vectors=True)
    k = min(m, n, r)
    dense = product.to_dense()
    truth = torch.linalg.svdvals(dense)
    atol = 1e-13 * max(1.0, float(truth.max()) if len(truth) else 1.0)
    torch.testing.assert_close(s.values[:k], truth[:k], rtol=1e-12, atol=atol)
    torch.testing.assert_close(s.left @ torch.diag(s.values) @ s.right.T, dense, rtol=1e-12, atol=100 * atol)
    torch.testing.assert_close(Spectrum.of(product).values, s.values, rtol=1e-12, atol=atol)


def test_invariant_under_the_choice_of_factors():
    B, A = gaussian(64, 8), gaussian(8, 48, seed=1)
    G = gaussian(8, 8, seed=2)
    reference = Spectrum.of(LowRank(B, A))
    moved = Spectrum.of(LowRank(B @ torch.linalg.inv(G), G @ A))
    torch.testing.assert_close(moved.values, reference.values, rtol=1e-12, atol=1e-12)
    scaled = Spectrum.of(LowRank(B * 1e-9, A * 1e9))
    torch.testing.assert_close(scaled.values, reference.values, rtol=1e-12, atol=1e-12)


def test_small_values_of_a_product_survive():
    """Factors with singular values down to 1e-12 of the largest: a Gram matrix would lose half of them."""
    Q1, Q2 = torch.linalg.qr(gaussian(80, 8)).Q, torch.linalg.qr(gaussian(60, 8, seed=1)).Q
    values = torch.logspace(0, -12, 8, dtype=torch.float64)
    s = Spectrum.of(LowRank(Q1 * values, Q2.T))
    torch.testing.assert_close(s.values, values, rtol=1e-3, atol=1e-16)
    assert s.rank == 8


def test_truncation_is_eckart_young():
    A = gaussian(12, 9)
    s = Spectrum.of(A, vectors=True)
    best = s.truncated(4)
    assert best.shape == (12, 9)
    assert float((A - best.to_dense()).norm()) == pytest.approx(float(s.values[4:].norm()))
    assert float(s.truncated(0).to_dense().abs().max()) == 0


def test_misuse_is_named():
    A = gaussian(4, 4)
    A[1, 2] = float("nan")
    A[3, 0] = float("inf")
    with pytest.raises(
        ValueError, match=r"the matrix has 2 non-finite entries of 16; the first is nan at index \(1, 2\)"
    ):
        Spectrum.of(A)
    with pytest.raises(ValueError, match=r"the right factor has 2 non-finite"):
        Spectrum.of(LowRank(gaussian(3, 4), A))
    with pytest.raises(ValueError, match=r"bias has 1 non-finite entries of 1; the first is -inf at index \(0,\)"):
        require_finite(torch.tensor([-float("inf")]), "bias")
    with pytest.raises(ValueError, match=r"needs a matrix \(m, n\); got shape \(2, 2, 2\)"):
        Spectrum.of(torch.zeros(2, 2, 2))
    with pytest.raises(ValueError, match="has at most 2 values"):
        Spectrum(torch.ones(3), (2, 5))
    s = Spectrum.of(gaussian(3, 3))
    with pytest.raises(ValueError, match=r"fraction must lie in \(0, 1\]; got 0"):
        s.energy_rank(0)
    with pytest.raises(ValueError, match="build it with vectors=True"):
        s.truncated(1)
    with pytest.raises(ValueError, match="rank must be in 0 … 3; got 4"):
        Spectrum.of(gaussian(3, 3), vectors=True).truncated(4)
