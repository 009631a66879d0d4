"""Randomised SVD and traces: bounds that hold, standard errors that cover."""

from __future__ import annotations

from math import isnan, sqrt

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import svds

from lab.linalg import Identity, LowRank, Matrix, hutchinson_trace, hutchpp_trace, randomized_svd


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_singular_values(values: torch.Tensor, m: int, n: int, seed: int = 0) -> torch.Tensor:
    k = len(values)
    U, V = torch.linalg.qr(gaussian(m, k, seed=seed)).Q, torch.linalg.qr(gaussian(n, k, seed=seed + 1)).Q
    return U @ torch.diag(values) @ V.T


@pytest.mark.parametrize("shape", [(80, 50), (50, 80)])
def test_graded_matrix_to_scipy_accuracy(shape):
    A = with_singular_values(torch.logspace(0, -6, 50, dtype=torch.float64), *shape)
    result = randomized_svd(Matrix(A), 6)
    theirs = svds(A.numpy(), k=6, return_singular_vectors=False, rng=np.random.default_rng(0))
    np.testing.assert_allclose(result.S, np.sort(theirs)[::-1], rtol=1e-9)
    for basis in (result.U, result.V):
        torch.testing.assert_close(basis.T @ basis, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-12)
    error = float(torch.linalg.matrix_norm(A - result.U @ torch.diag(result.S) @ result.V.T, ord=2))
    assert error <= result.error_bound
    assert error == pytest.approx(float(torch.linalg.svdvals(A)[6]), rel=1e-3)


def test_exact_on_low_rank_and_its_bound_says_so():
    A = LowRank(gaussian(90, 4), gaussian(4, 70))
    result = randomized_svd(A, 4, oversampling=0, power_iterations=0)
    torch.testing.assert_close(result.S, torch.linalg.svdvals(A.to_dense())[:4])
    assert result.range_bound < 1e-11
    assert result.error_bound == result.range_bound
    assert result.failure_probability == 1e-6


def test_bounds_hold_on_a_flat_spectrum():
    """The hard case: no gap, no power iteration. Both bounds and the per-value bound, over 20 seeds."""
    A = gaussian(60, 60, seed=9) / sqrt(60)
    truth = torch.linalg.svdvals(A)
    for seed in range(20):
        result = randomized_svd(Matrix(A), 5, power_iterations=0, generator=seed)
        error = torch.linalg.matrix_norm(A - result.U @ torch.diag(result.S) @ result.V.T, ord=2)
        assert truth[5] - 1e-12 <= error <= result.error_bound
        assert float((truth[:5] - result.S).abs().max()) <= result.range_bound


def test_products_are_counted():
    calls = []

    class Counted(Matrix):
        def _matmat(self, X):
            calls.append(X.shape[1])
            return super()._matmat(X)

        def _rmatmat(self, Y):
            calls.append(Y.shape[1])
            return super()._rmatmat(Y)

    result = randomized_svd(Counted(gaussian(30, 20)), 3, oversampling=2, power_iterations=1, n_checks=4)
    assert sum(calls) == result.products


def test_hutchinson_is_exact_on_a_diagonal_and_covers():
    assert hutchinson_trace(Identity(10, dtype=torch.float64), 4).value == 10
    X = gaussian(100, 100)
    A, truth = Matrix(X @ X.T), float((X @ X.T).trace())
    z = []
    for seed in range(60):
        estimate = hutchinson_trace(A, 40, generator=seed)
        z.append((estimate.value - truth) / estimate.standard_error)
    assert abs(np.mean(z)) < 4 / sqrt(60)
    assert 0.7 < np.std(z) < 1.4
    theory = sqrt(2 * float((X @ X.T).square().sum() - (X @ X.T).diagonal().square().sum()) / 40)
    assert estimate.standard_error == pytest.approx(theory, rel=0.5)
    assert isnan(hutchinson_trace(A, 1).standard_error)
    assert hutchinson_trace(A, 2000, distribution="gaussian").value == pytest.approx(truth, rel=0.02)


def test_hutchpp_beats_hutchinson_on_a_decaying_spectrum():
    A = with_singular_values(1 / torch.arange(1, 101, dtype=torch.float64) ** 2, 100, 100)
    A = Matrix(A @ A.T)
    truth = float(A.matrix.trace())

    def rms(estimator) -> float:
        return float(np.sqrt(np.mean([(estimator(A, 30, generator=s).value - truth) ** 2 for s in range(20)])))

    assert rms(hutchpp_trace) < 0.05 * rms(hutchinson_trace)
    estimate = hutchpp_trace(A, 30)
    assert estimate.products == 30
    assert abs(estimate.value - truth) < 6 * estimate.standard_error


def test_hutchpp_is_exact_when_the_sketch_spans():
    left = gaussian(50, 3)
    estimate = hutchpp_trace(LowRank(left, left.T), 12)
    assert estimate.value == pytest.approx(float(left.square().sum()), rel=1e-12)
    full = hutchpp_trace(Matrix(gaussian(5, 5)), 60)
    assert full.value == pytest.approx(float(gaussian(5, 5).trace()), abs=1e-12)
    assert full.standard_error == 0


def test_a_generator_continues_its_stream():
    A = Matrix(gaussian(30, 30))
    generator = torch.Generator().manual_seed(5)
    first, second = (hutchinson_trace(A, 5, generator=generator).value for _ in range(2))
    assert first != second
    assert first == hutchinson_trace(A, 5, generator=5).value


def test_misuse_is_named():
    A = Matrix(gaussian(4, 3))
    with pytest.raises(ValueError, match=r"rank must be at most min\(4, 3\); got 4"):
        randomized_svd(A, 4)
    with pytest.raises(ValueError, match="oversampling and power_iterations must be >= 0"):
        randomized_svd(A, 2, oversampling=-1)
    with pytest.raises(ValueError, match="rank must be an int >= 1"):
        randomized_svd(A, 0)
    with pytest.raises(ValueError, match="a trace needs a square operator"):
        hutchinson_trace(A, 3)
    with pytest.raises(ValueError, match="n_products >= 3; got 2"):
        hutchpp_trace(Identity(3), 2)
    with pytest.raises(ValueError, match='distribution must be "gaussian" or "rademacher"'):
        hutchinson_trace(Identity(3), 2, distribution="cauchy")  # type: ignore[arg-type]
