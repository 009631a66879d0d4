"""Lanczos and conjugate gradients: decomposition identities, dense truth, honest statuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import eigsh

from lab.linalg import Diagonal, Identity, LowRank, Matrix, conjugate_gradients, lanczos, tridiagonalize


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_eigenvalues(values: torch.Tensor, seed: int = 0) -> torch.Tensor:
    Q = torch.linalg.qr(gaussian(len(values), len(values), seed=seed)).Q
    A = Q @ torch.diag(values) @ Q.T
    return (A + A.T) / 2


SYMMETRIC = with_eigenvalues(gaussian(60, seed=5))


def test_the_recurrence_is_the_decomposition():
    """A Q = Q T + β q eᵀ and QᵀQ = 1, to rounding: the identity, not only its by-products."""
    T = tridiagonalize(Matrix(SYMMETRIC), gaussian(60), 40)
    Q = T.basis
    torch.testing.assert_close(Q.T @ Q, torch.eye(40, dtype=torch.float64), rtol=0, atol=1e-13)
    matrix = torch.diag(T.alphas) + torch.diag(T.betas, 1) + torch.diag(T.betas, -1)
    rest = SYMMETRIC @ Q - Q @ matrix
    assert float(rest[:, :-1].abs().max()) < 1e-13
    assert abs(float(rest[:, -1].norm()) - T.last_beta) < 1e-13


@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
def test_eigenpairs_against_dense_and_scipy(which):
    result = lanczos(Matrix(SYMMETRIC), 5, which=which)
    assert result.converged, result.message
    truth = torch.linalg.eigvalsh(SYMMETRIC)
    order = {"largest": -truth, "smallest": truth, "magnitude": -truth.abs()}[which].argsort()[:5]
    torch.testing.assert_close(result.ritz_values, truth[order], rtol=0, atol=1e-12)
    name = {"largest": "LA", "smallest": "SA", "magnitude": "LM"}[which]
    theirs = eigsh(Matrix(SYMMETRIC).to_scipy(), k=5, which=name, return_eigenvectors=False, v0=np.ones(60))
    np.testing.assert_allclose(np.sort(result.ritz_values), np.sort(theirs), atol=1e-10)
    residuals = (SYMMETRIC @ result.ritz_vectors - result.ritz_vectors * result.ritz_values).norm(dim=0)
    torch.testing.assert_close(residuals, result.residuals, rtol=0, atol=1e-12)


def test_residuals_bound_the_error_before_convergence():
    result = lanczos(Matrix(SYMMETRIC), 3, max_iterations=12)
    assert not result.converged
    assert "raise max_iterations" in result.message
    assert result.iterations == 12
    distance = (torch.linalg.eigvalsh(SYMMETRIC)[None, :] - result.ritz_values[:, None]).abs().min(dim=1).values
    assert bool((distance <= result.residuals + 1e-13).all())
    vectors = result.ritz_vectors
    true_residuals = (SYMMETRIC @ vectors - vectors * result.ritz_values).norm(dim=0)
    torch.testing.assert_close(true_residuals, result.residuals, rtol=1e-8, atol=1e-12)


def test_multiple_eigenvalues_after_breakdown():
    """(5, 5, 3, 1 × 57): three distinct values, so the Krylov space ends at 3 and must be restarted to see the copy."""
    values = torch.tensor([5.0, 5.0, 3.0] + [1.0] * 57, dtype=torch.float64)
    result = lanczos(Matrix(with_eigenvalues(values)), 4)
    assert result.converged
    torch.testing.assert_close(result.ritz_values, torch.tensor([5.0, 5.0, 3.0, 1.0], dtype=torch.float64))
    assert result.iterations < 20


def test_the_message_says_where_a_copy_may_be_missing():
    values = torch.cat([torch.tensor([5.0, 5.0, 3.0]), torch.linspace(0, 1, 197)]).double()
    found = lanczos(Diagonal(values), 2)
    assert found.converged
    assert found.ritz_values.tolist() == pytest.approx([5, 3])  # 5 twice is the truth
    assert "a further copy of a multiple eigenvalue may be missing" in found.message
    assert "copy" not in lanczos(Diagonal(values), 1).message
    few = torch.tensor([5.0, 5.0, 3.0, 3.0, 1.0, 1.0]).double()  # breaks down after three steps
    assert "copy" not in lanczos(Diagonal(few), 2).message


def test_identity_zero_and_low_rank():
    identity = lanczos(Identity(50, dtype=torch.float64), 3)
    assert identity.converged
    assert identity.iterations == 3
    torch.testing.assert_close(identity.ritz_values, torch.ones(3, dtype=torch.float64))
    zero = lanczos(Diagonal(torch.zeros(20, dtype=torch.float64)), 2)
    assert zero.converged
    assert zero.ritz_values.tolist() == [0.0, 0.0]
    left = gaussian(200, 3)
    result = lanczos(LowRank(left, left.T), 6)
    assert result.converged
    assert result.iterations <= 10
    truth = torch.linalg.svdvals(left) ** 2
    torch.testing.assert_close(result.ritz_values[:3], truth)
    assert float(result.ritz_values[3:].abs().max()) < 1e-10


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.data())
def test_any_spectrum(values, data):
    values = torch.tensor(values, dtype=torch.float64)
    k = data.draw(st.integers(1, len(values)))
    result = lanczos(Matrix(with_eigenvalues(values)), k, tol=1e-12, max_iterations=len(values))
    # every pair is an eigenpair; copies of a multiple eigenvalue may be missing unless all n are asked for
    assert result.converged
    distance = (values[None, :] - result.ritz_values[:, None]).abs().min(dim=1).values
    assert float(distance.max()) < 1e-10
    assert float(result.ritz_values[0]) == pytest.approx(float(values.max()), abs=1e-10)
    if k == len(values):
        torch.testing.assert_close(result.ritz_values, values.sort(descending=True).values, rtol=0, atol=1e-10)


def test_the_seed_determines_the_run():
    a, b, c = (lanczos(Matrix(SYMMETRIC), 2, generator=seed, max_iterations=9) for seed in (0, 0, 1))
    assert torch.equal(a.basis, b.basis)
    assert not torch.equal(a.basis, c.basis)
    own = lanczos(Matrix(SYMMETRIC), 2, start=gaussian(60), max_iterations=9)
    torch.testing.assert_close(own.basis[:, 0], gaussian(60) / gaussian(60).norm())


def test_lanczos_refuses():
    with pytest.raises(ValueError, match="needs a square operator; got shape"):
        lanczos(Matrix(gaussian(3, 4)), 1)
    with pytest.raises(ValueError, match="k must be at most n = 60; got 61"):
        lanczos(Matrix(SYMMETRIC), 61)
    with pytest.raises(ValueError, match="k must be an int >= 1; got 0"):
        lanczos(Matrix(SYMMETRIC), 0)
    with pytest.raises(ValueError, match='which must be "largest"'):
        lanczos(Matrix(SYMMETRIC), 1, which="LM")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"start must be a non-zero vector \(60,\)"):
        lanczos(Matrix(SYMMETRIC), 1, start=torch.zeros(60, dtype=torch.float64))
    with pytest.raises(ValueError, match="non-finite product at Lanczos step 1"):
        lanczos(Diagonal(torch.tensor([1.0, float("nan")])), 1)


def test_cg_solves_in_as_many_steps_as_distinct_eigenvalues():
    A = with_eigenvalues(torch.tensor([1.0, 2.0, 7.0] * 10, dtype=torch.float64))
    b = gaussian(30)
    result = conjugate_gradients(Matrix(A), b, tol=1e-10)
    assert result.status == "converged"
    assert result.converged
    assert result.iterations == 3
    torch.testing.assert_close(result.solution, torch.linalg.solve(A, b))
    assert result.residuals[0] == pytest.approx(float(b.norm()))
    assert result.residuals[-1] <= 1e-10 * float(b.norm())


def test_cg_damping_preconditioner_and_start():
    values = torch.logspace(0, 4, 40, dtype=torch.float64)
    A, b = torch.diag(values), gaussian(40)
    damped = conjugate_gradients(Matrix(A), b, damping=2.0, tol=1e-12)
    torch.testing.assert_close(damped.solution, b / (values + 2), rtol=1e-9, atol=1e-12)
    exact = conjugate_gradients(Matrix(A), b, damping=2.0, preconditioner=Diagonal(1 / (values + 2)))
    assert exact.iterations == 1
    started = conjugate_gradients(Matrix(A), b, start=b / values)
    assert started.iterations == 0
    assert started.converged
    assert conjugate_gradients(Matrix(A), torch.zeros(40, dtype=torch.float64)).converged


def test_cg_reports_failure_as_a_value():
    A = torch.diag(torch.tensor([2.0, -1.0], dtype=torch.float64))
    indefinite = conjugate_gradients(Matrix(A), torch.tensor([0.1, 1.0], dtype=torch.float64))
    assert indefinite.status == "indefinite"
    assert indefinite.curvature < 0
    slow = conjugate_gradients(
        Matrix(with_eigenvalues(torch.logspace(0, 6, 40).double())), gaussian(40), max_iterations=3
    )
    assert slow.status == "max_iterations"
    assert slow.iterations == 3
    broken = conjugate_gradients(Diagonal(torch.tensor([1.0, float("inf")])), torch.ones(2))
    assert broken.status == "non_finite"
    assert bool(torch.isfinite(broken.solution).all())


def test_cg_refuses():
    A = Matrix(SYMMETRIC)
    with pytest.raises(ValueError, match=r"b must be a vector \(60,\)"):
        conjugate_gradients(A, gaussian(3))
    with pytest.raises(ValueError, match="damping must be >= 0"):
        conjugate_gradients(A, gaussian(60), damping=-1.0)
    with pytest.raises(ValueError, match=r"preconditioner must have shape \(60, 60\)"):
        conjugate_gradients(A, gaussian(60), preconditioner=Identity(3))
    with pytest.raises(ValueError, match="conjugate gradients needs a square operator"):
        conjugate_gradients(Matrix(gaussian(3, 4)), gaussian(4))
