"""Numbers far from 1: the answer for c·A is c times that for A, to the last bit where c is a power of two."""

from __future__ import annotations

import pytest
import torch

from lab.linalg import (
    Diagonal,
    LowRank,
    Matrix,
    Spectrum,
    Structure,
    conjugate_gradients,
    lanczos,
    spectral_density,
    tagged,
)
from lab.linalg.powers_of_two import exponent, scaled


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def positive_definite(n: int, dtype: torch.dtype) -> torch.Tensor:
    Q = torch.linalg.qr(gaussian(n, n)).Q
    A = Q @ torch.diag(torch.linspace(1, 10, n, dtype=torch.float64)) @ Q.T
    return ((A + A.T) / 2).to(dtype)


SCALES = {
    torch.float32: (-86, -40, 40, 60, 120),  # 1e-26 … 1e36
    torch.float64: (-900, -600, 500, 900),  # 1e-271 … 1e271
}
cases = pytest.mark.parametrize(("dtype", "e"), [(dtype, e) for dtype, es in SCALES.items() for e in es])


@cases
def test_lanczos_scales_with_the_operator(dtype, e):
    A = positive_definite(60, dtype)
    plain, extreme = lanczos(Matrix(A), 3), lanczos(Matrix(scaled(A, e)), 3)
    assert extreme.converged
    assert extreme.iterations == plain.iterations
    assert torch.equal(extreme.alphas, scaled(plain.alphas, e))
    assert torch.equal(extreme.betas, scaled(plain.betas, e))
    assert torch.equal(extreme.basis, plain.basis)
    torch.testing.assert_close(
        scaled(extreme.ritz_values, -e), plain.ritz_values, rtol=1e-14, atol=0
    )  # LAPACK rescales
    assert float(plain.ritz_values[0]) == pytest.approx(10, rel=1e-5)


@cases
def test_a_start_of_any_length_is_a_direction(dtype, e):
    A, start = Matrix(positive_definite(30, dtype)), gaussian(30, dtype=dtype)
    assert torch.equal(lanczos(A, 1, start=scaled(start, e)).basis, lanczos(A, 1, start=start).basis)


@cases
def test_conjugate_gradients_scale_with_the_operator_and_the_right_side(dtype, e):
    A, b = positive_definite(40, dtype), gaussian(40, dtype=dtype)
    plain = conjugate_gradients(Matrix(A), b)
    assert plain.status == "converged"
    operator = conjugate_gradients(Matrix(scaled(A, e)), b)
    assert operator.status == "converged"  # "indefinite" once, where pᵀAp vanished in the squares
    assert torch.equal(operator.solution, scaled(plain.solution, -e))
    assert operator.curvature == scaled(plain.curvature, e)
    right_side = conjugate_gradients(Matrix(A), scaled(b, e))
    assert torch.equal(right_side.solution, scaled(plain.solution, e))
    assert right_side.residuals == tuple(scaled(norm, e) for norm in plain.residuals)
    damped = conjugate_gradients(Matrix(scaled(A, e)), b, damping=float(scaled(2.0, e)))
    assert torch.equal(damped.solution, scaled(conjugate_gradients(Matrix(A), b, damping=2.0).solution, -e))
    preconditioner = Diagonal(scaled(1 / A.diagonal(), -e))
    assert conjugate_gradients(Matrix(scaled(A, e)), b, preconditioner=preconditioner).status == "converged"


def test_a_start_of_conjugate_gradients_is_in_the_units_of_x():
    A, b = positive_definite(20, torch.float32), gaussian(20, dtype=torch.float32)
    x = torch.linalg.solve(A, b)
    near = conjugate_gradients(Matrix(scaled(A, -80)), b, start=scaled(x * 1.01, 80), tol=1e-6)
    torch.testing.assert_close(scaled(near.solution, -80), x, rtol=1e-4, atol=1e-5)
    assert near.residuals[0] < 0.02 * float(b.norm())


def test_densities_scale_with_the_operator():
    A = positive_definite(50, torch.float64)
    plain, extreme = (
        spectral_density(tagged(Matrix(scaled(A, e)), Structure.SYMMETRIC), n_probes=2) for e in (0, -600)
    )
    torch.testing.assert_close(scaled(extreme.nodes, 600), plain.nodes, rtol=1e-13, atol=0)
    torch.testing.assert_close(extreme.weights, plain.weights, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(("left", "right"), [(511, -500), (-600, 580), (490, 490), (-500, -500), (0, 1000)])
def test_factors_of_any_size_have_their_spectrum(left, right):
    L, R = gaussian(30, 3), gaussian(3, 20, seed=1)
    plain = Spectrum.of(LowRank(L, R), vectors=True)
    extreme = Spectrum.of(LowRank(scaled(L, left), scaled(R, right)), vectors=True)
    assert torch.equal(extreme.values, scaled(plain.values, left + right))
    assert extreme.rank == 3
    assert extreme.effective_rank == pytest.approx(plain.effective_rank, rel=1e-12)
    assert torch.equal(extreme.left, plain.left)


@pytest.mark.parametrize("e", [515, -560])
def test_a_product_that_no_float64_holds_is_refused(e):
    """Factors of 1e155 each: the product is no number; rank 0 would be the wrong answer."""
    L, R = scaled(gaussian(30, 3), e), scaled(gaussian(3, 20, seed=1), e)
    with pytest.raises(ValueError, match=r"largest singular value is about 2\^-?1\d{3}, no float64; scale its factors"):
        Spectrum.of(LowRank(L, R))
    assert Spectrum.of(LowRank(0 * L, R)).rank == 0


def test_exponents():
    assert exponent(torch.tensor([0.5, -3.0])) == 2
    assert exponent(torch.zeros(3)) == exponent(torch.empty(0)) == exponent(torch.tensor([float("nan"), 1.0])) == 0
    assert scaled(1.0, 2000) == float("inf")
    assert scaled(torch.tensor([1e-30], dtype=torch.float32), 99).item() == pytest.approx(1e-30 * 2.0**99)
