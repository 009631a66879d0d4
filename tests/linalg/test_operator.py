"""Every operator equals its dense truth, and its adjoint is its adjoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import eigsh, svds

from lab.linalg import Diagonal, Hessian, Identity, Jacobian, LinearOperator, LowRank, Matrix


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


F64 = torch.float64
W = gaussian(5, 4)
POINT = gaussian(4, seed=7)
A54, B45 = gaussian(5, 4, seed=1), gaussian(4, 5, seed=2)

# name -> (operator, the matrix it must equal, written without the operator)
CASES: dict[str, tuple[LinearOperator, torch.Tensor]] = {
    "matrix": (Matrix(A54), A54),
    "low rank": (LowRank(A54[:, :2], B45[:2]), A54[:, :2] @ B45[:2]),
    "identity": (Identity(4, dtype=F64), torch.eye(4, dtype=F64)),
    "diagonal": (Diagonal(POINT), torch.diag(POINT)),
    "sum": (Matrix(A54) + LowRank(A54[:, :1], B45[:1, :4]), A54 + A54[:, :1] @ B45[:1, :4]),
    "difference": (Matrix(A54) - Matrix(W), A54 - W),
    "negative": (-Matrix(A54), -A54),
    "scaled": (Matrix(A54) * 3, 3 * A54),
    "scaled from the left": (0.5 * Matrix(A54), 0.5 * A54),
    "product": (Matrix(A54) @ Matrix(B45), A54 @ B45),
    "transpose": (Matrix(A54).T, A54.T),
    "transpose of a product": ((Matrix(A54) @ Diagonal(POINT)).T, torch.diag(POINT) @ A54.T),
    "slice": (Matrix(A54)[1:4, ::2], A54[1:4, ::2]),
    "reversed slice": (Matrix(A54)[::-1, :], A54.flip(0)),
    "empty slice": (Matrix(A54)[3:1, :], A54[3:1]),
    "slice of a slice": (Matrix(A54)[1:, :][:2, 1:3], A54[1:][:2, 1:3]),
    "jacobian": (
        Jacobian(lambda x: torch.tanh(W @ x), POINT),
        (1 - torch.tanh(W @ POINT) ** 2)[:, None] * W,
    ),
    "hessian": (Hessian(lambda x: (W @ x).pow(3).sum() / 6, POINT), W.T @ torch.diag(W @ POINT) @ W),
    "no rows": (Matrix(A54[:0]), A54[:0]),
    "no columns": (Matrix(A54[:, :0]), A54[:, :0]),
}


@pytest.fixture(params=CASES, name="case")
def _case(request) -> tuple[LinearOperator, torch.Tensor]:
    return CASES[request.param]


def test_dense_truth(case):
    operator, truth = case
    assert operator.shape == tuple(truth.shape)
    torch.testing.assert_close(operator.to_dense(), truth, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(operator.T.to_dense(), truth.T, rtol=1e-12, atol=1e-12)
    x = gaussian(truth.shape[1], seed=3)
    torch.testing.assert_close(operator @ x, truth @ x, rtol=1e-12, atol=1e-12)


def test_adjoint_identity(case):
    operator, truth = case
    m, n = truth.shape
    X, Y = gaussian(n, 3, seed=4), gaussian(m, 3, seed=5)
    torch.testing.assert_close((operator @ X * Y).sum(), (X * (operator.T @ Y)).sum(), rtol=1e-12, atol=1e-12)


def test_scipy_view(case):
    operator, truth = case
    m, n = truth.shape
    view = operator.to_scipy()
    if m and n:
        X = np.random.default_rng(0).standard_normal((n, 2))
        X.flags.writeable = False
        np.testing.assert_allclose(view @ X, truth.numpy() @ X, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(view.T @ np.ones(m)[::-1], truth.numpy().T @ np.ones(m), rtol=1e-12, atol=1e-12)
    assert view.shape == (m, n)


def test_vmap_and_transforms(case):
    operator, truth = case
    m, n = truth.shape
    X = gaussian(6, n, seed=6)
    torch.testing.assert_close(torch.vmap(lambda x: operator @ x)(X), X @ truth.T, rtol=1e-11, atol=1e-12)
    Y = gaussian(6, n, 2, seed=6)
    torch.testing.assert_close(torch.vmap(lambda Y: operator @ Y)(Y), truth @ Y, rtol=1e-11, atol=1e-12)
    _, pull = torch.func.vjp(lambda x: operator @ x, X[0])
    cotangent = gaussian(m, seed=8)
    torch.testing.assert_close(pull(cotangent)[0], truth.T @ cotangent, rtol=1e-11, atol=1e-12)
    _, tangent = torch.func.jvp(lambda x: operator @ x, (X[0],), (X[1],))
    torch.testing.assert_close(tangent, truth @ X[1], rtol=1e-11, atol=1e-12)


def test_scipy_algorithms_run_on_the_view():
    dense = gaussian(30, 20)
    values = svds(Matrix(dense).to_scipy(), k=3, return_singular_vectors=False, rng=np.random.default_rng(0))
    np.testing.assert_allclose(np.sort(values)[::-1], torch.linalg.svdvals(dense)[:3], rtol=1e-10)
    symmetric = (Matrix(dense).T @ Matrix(dense)).to_scipy()
    largest = eigsh(symmetric, k=2, return_eigenvectors=False, v0=np.ones(20))
    np.testing.assert_allclose(np.sort(largest)[::-1], torch.linalg.svdvals(dense)[:2] ** 2, rtol=1e-10)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(m=st.integers(0, 6), n=st.integers(0, 6), r=st.integers(0, 4), data=st.data())
def test_algebra_over_shapes(m, n, r, data):
    L, R, D = gaussian(m, r), gaussian(r, n, seed=1), gaussian(m, n, seed=2)
    rows = data.draw(st.slices(m))
    columns = data.draw(st.slices(n))
    operator = ((2 * LowRank(L, R) - Matrix(D)).T @ Identity(m, dtype=F64))[columns, rows]
    positions = np.arange(m)[rows].copy(), np.arange(n)[columns].copy()
    truth = (2 * L @ R - D).T[positions[1]][:, positions[0]]
    torch.testing.assert_close(operator.to_dense(), truth, rtol=1e-12, atol=1e-12)


def test_misuse_is_named():
    A = Matrix(A54)
    with pytest.raises(ValueError, match=r"acts on vectors \(4,\) or columns \(4, k\); got .* \(5,\)"):
        A @ torch.ones(5, dtype=F64)
    with pytest.raises(ValueError, match="cannot add operators of shapes"):
        A + A.T
    with pytest.raises(ValueError, match="cannot compose operators of shapes"):
        A @ A
    with pytest.raises(TypeError, match="slice an operator with two slices"):
        A[1]
    with pytest.raises(ValueError, match="Matrix needs a 2-d tensor"):
        Matrix(POINT)
    with pytest.raises(ValueError, match=r"LowRank needs factors \(m, r\) and \(r, n\)"):
        LowRank(A54, A54)
    with pytest.raises(ValueError, match="Diagonal needs a vector"):
        Diagonal(A54)
    with pytest.raises(TypeError):
        A @ "x"
