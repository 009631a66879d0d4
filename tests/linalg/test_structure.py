"""Structures travel through the algebra and are true of the dense matrix; what needs them, asks for them."""

from __future__ import annotations

import pytest
import torch

from lab.linalg import (
    Diagonal,
    Hessian,
    Identity,
    Jacobian,
    LinearOperator,
    LowRank,
    Matrix,
    RecordedHessian,
    RecordedJacobian,
    Structure,
    conjugate_gradients,
    is_positive_semidefinite,
    is_symmetric,
    lanczos,
    spectral_density,
    tagged,
    tridiagonalize,
)

GENERAL, SYMMETRIC, POSITIVE = Structure


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


A, B = Matrix(gaussian(5, 4)), Matrix(gaussian(4, 4, seed=1))
S = Matrix(gaussian(4, 4, seed=2) + gaussian(4, 4, seed=2).mT)
P = tagged(Matrix(gaussian(4, 4, seed=3) @ gaussian(4, 4, seed=3).mT), POSITIVE)
POINT = gaussian(4, seed=4)
OUTPUT = Matrix(torch.diag(torch.tensor([1.0, -1.0, 2.0, 0.0, 3.0]).double()))
J = Jacobian(lambda x: torch.tanh(A.matrix @ x), POINT)

CASES: dict[str, tuple[LinearOperator, Structure]] = {
    "matrix": (B, GENERAL),
    "not square": (A, GENERAL),
    "symmetric matrix": (S, SYMMETRIC),
    "tagged": (P, POSITIVE),
    "identity": (Identity(4, dtype=torch.float64), POSITIVE),
    "diagonal": (Diagonal(torch.tensor([1.0, 0.0, 2.0]).double()), POSITIVE),
    "diagonal of both signs": (Diagonal(torch.tensor([1.0, -1.0]).double()), SYMMETRIC),
    "factors": (LowRank(A.matrix, A.matrix.mT), POSITIVE),
    "other factors": (LowRank(A.matrix, A.matrix.mT.flip(0)), GENERAL),
    "sum": (P + Identity(4, dtype=torch.float64), POSITIVE),
    "sum with less": (P + S, SYMMETRIC),
    "sum with nothing known": (P + B, GENERAL),
    "sum with the transpose": (B + B.T, SYMMETRIC),
    "transpose plus": (B.T + B, SYMMETRIC),
    "difference": (P - S, SYMMETRIC),
    "difference with the transpose is skew": (B - B.T, GENERAL),
    "scaled": (3 * P, POSITIVE),
    "negative": (-P, SYMMETRIC),
    "transpose": (P.T, POSITIVE),
    "transpose of a general one": (B.T, GENERAL),
    "AᵀA": (A.T @ A, POSITIVE),
    "AAᵀ": (A @ A.T, POSITIVE),
    "AB": (A @ B, GENERAL),
    "SS": (S @ S, POSITIVE),
    "SP is not symmetric": (S @ P, GENERAL),
    "BᵀSB": (B.T @ S @ B, SYMMETRIC),
    "Bᵀ(PB)": (B.T @ (P @ B), POSITIVE),
    "BᵀBᵀBB": (B.T @ B.T @ B @ B, POSITIVE),
    "BᵀBBᵀB": (B.T @ B @ B.T @ B, POSITIVE),
    "BᵀAᵀAB": (B.T @ (A.T @ A) @ B, POSITIVE),
    "c AᵀA": ((A.T @ A) * 0.25, POSITIVE),
    "principal block": (P[1:3, 1:3], POSITIVE),
    "other block": (P[:2, 2:], GENERAL),
    "jacobian": (J, GENERAL),
    "kernel": (J @ J.T, POSITIVE),
    "gauss-newton": (J.T @ OUTPUT @ J, SYMMETRIC),
    "hessian": (Hessian(lambda x: x.pow(3).sum(), POINT), SYMMETRIC),
    "recorded hessian": (RecordedHessian(lambda x: x.pow(3).sum(), POINT), SYMMETRIC),
    "recorded jacobian": (RecordedJacobian(lambda x: x.pow(3), POINT), GENERAL),
}


@pytest.mark.parametrize("name", CASES)
def test_structure_is_what_the_algebra_says_and_true(name):
    operator, structure = CASES[name]
    assert operator.structure == structure
    assert (is_symmetric(operator), is_positive_semidefinite(operator)) == (structure >= 1, structure >= 2)
    dense = operator.to_dense()
    if structure >= SYMMETRIC:
        torch.testing.assert_close(dense, dense.mT, rtol=1e-12, atol=1e-12)
        assert operator.T is operator
    if structure >= POSITIVE:
        assert float(torch.linalg.eigvalsh(dense).min()) > -1e-12


def test_a_tag_is_the_same_map():
    known = tagged(B, SYMMETRIC)
    assert torch.equal(known.to_dense(), B.matrix)
    assert tagged(P, SYMMETRIC) is P  # what is known stays
    with pytest.raises(ValueError, match=r"only a square operator is symmetric; got shape \(5, 4\)"):
        tagged(A, SYMMETRIC)


@pytest.mark.parametrize(
    ("solve", "who"),
    [
        (lambda A: lanczos(A, 1), "Lanczos"),
        (lambda A: tridiagonalize(A, gaussian(4), 2), "Lanczos"),
        (lambda A: spectral_density(A), "a spectral density"),
        (lambda A: conjugate_gradients(A, gaussian(4)), "conjugate gradients"),
        (lambda A: conjugate_gradients(P, gaussian(4), preconditioner=A), "preconditioning"),
    ],
    ids=["lanczos", "tridiagonalize", "spectral density", "cg", "preconditioner"],
)
def test_algorithms_ask_for_symmetry_before_any_product(solve, who):
    rounded = Matrix(P.to_dense() + 1e-15 * B.matrix)  # symmetric but for rounding
    with pytest.raises(ValueError, match=rf"{who} needs a symmetric operator, and Matrix\(.*not known to be one"):
        solve(rounded)
    solve(tagged(rounded, SYMMETRIC))


def test_a_wrong_tag_is_noticed_by_lanczos():
    wrong = tagged(Matrix(gaussian(30, 30)), SYMMETRIC)
    with pytest.raises(ValueError, match=r"is tagged as symmetric and is not: step \d+ found"):
        lanczos(wrong, 2)
