"""Randomised algorithms with error estimates: truncated SVD, and traces."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import torch
from torch import Tensor

from lab.faces import outlined
from lab.linalg.draws import Distribution, Seed, draw, generator_of, require_positive, require_square
from lab.linalg.operator import LinearOperator


@outlined
@dataclass(frozen=True)
class RandomizedSVD:
    """A ≈ U diag(S) Vᵀ.

    Attributes:
        U: (m, rank), orthonormal columns.
        S: (rank,), decreasing, float64 on the CPU.
        V: (n, rank), orthonormal columns.
        range_bound: bound of ‖A − Q Qᵀ A‖₂ (Halko, Martinsson & Tropp 2011, eq. 4.3).
        error_bound: bound of ‖A − U diag(S) Vᵀ‖₂ = range_bound + the largest dropped value of Qᵀ A (their theorem 9.3);
            also |S_j − σ_j(A)| ≤ range_bound.
        failure_probability: both bounds hold but with this probability, over the check vectors.
        products: products with A and with Aᵀ, together.
    """

    U: Tensor
    S: Tensor
    V: Tensor
    range_bound: float
    error_bound: float
    failure_probability: float
    products: int


def randomized_svd(
    A: LinearOperator,
    rank: int,
    *,
    oversampling: int = 10,
    power_iterations: int = 2,
    n_checks: int = 6,
    generator: Seed = 0,
) -> RandomizedSVD:
    """Leading singular triplets by a randomised range finder with power iterations.

    Halko, Martinsson & Tropp 2011, algorithms 4.4 and 5.1: Q = orth((A Aᵀ)^q A Ω), then the SVD of QᵀA. Orthonormalised
    between all products. The a-posteriori bound draws n_checks fresh Gaussian vectors ω and states, with probability at
    least 1 − 10^−n_checks, ‖(I − QQᵀ)A‖ ≤ 10·√(2/π)·max ‖(I − QQᵀ)A ω‖ (eq. 4.3).

    Cost: (2q + 2)·(rank + oversampling) + n_checks products.

    Args:
        A: (m, n).
        rank: wanted triplets, 1 ≤ rank ≤ min(m, n).
        oversampling: extra columns; 5 or 10 suffice (their section 4.2).
        power_iterations: q; 2 for slowly decaying spectra (their section 4.5), 0 when it decays fast.
        n_checks: fresh vectors for the bound.
        generator: int or CPU torch.Generator.

    Warning:
        The bound is pessimistic by up to a factor of about 10·√(2/π) ≈ 8, and cannot see below rounding.

    Raises:
        ValueError: rank out of range, or a negative count.
    """
    m, n = A.shape
    require_positive(rank=rank, n_checks=n_checks)
    if rank > min(m, n):
        raise ValueError(f"rank must be at most min{A.shape}; got {rank}.")
    if oversampling < 0 or power_iterations < 0:
        raise ValueError(f"oversampling and power_iterations must be >= 0; got {oversampling} and {power_iterations}.")
    generator = generator_of(generator)
    width = min(rank + oversampling, m, n)
    Q = _orthonormal(A @ draw(n, width, A, generator))
    for _ in range(power_iterations):
        Q = _orthonormal(A.T @ Q)
        Q = _orthonormal(A @ Q)
    B = (A.T @ Q).T  # (width, n): Qᵀ A
    left, values, right = torch.linalg.svd(B.to(torch.float64), full_matrices=False)

    probes = A @ draw(n, n_checks, A, generator)
    outside = probes - Q @ (Q.T @ probes)
    range_bound = 10 * sqrt(2 / pi) * float(outside.norm(dim=0).max())
    dropped = float(values[rank]) if rank < width else 0.0
    return RandomizedSVD(
        U=Q @ left[:, :rank].to(Q),
        S=values[:rank].cpu(),
        V=right[:rank].T.to(Q),
        range_bound=range_bound,
        error_bound=range_bound + dropped,
        failure_probability=10.0**-n_checks,
        products=(2 * power_iterations + 2) * width + n_checks,
    )


def _orthonormal(Y: Tensor) -> Tensor:
    return torch.linalg.qr(Y).Q


@dataclass(frozen=True)
class TraceEstimate:
    """An unbiased estimate of tr A.

    Attributes:
        value: the estimate.
        standard_error: of it, from the spread of its samples; 0 when the estimate is exact, nan with one sample.
        products: products with A.
    """

    value: float
    standard_error: float
    products: int


def hutchinson_trace(
    A: LinearOperator, n_samples: int, *, distribution: Distribution = "rademacher", generator: Seed = 0
) -> TraceEstimate:
    """tr A = E vᵀ A v over random v (Hutchinson 1990).

    Args:
        A: square (n, n).
        n_samples: products.
        distribution: "rademacher" has the least variance, 2(‖A‖_F² − Σ A_ii²) per sample for symmetric A; "gaussian".
        generator: int or CPU torch.Generator.

    Raises:
        ValueError: A is not square, or n_samples < 1.
    """
    n = require_square(A, "a trace")
    require_positive(n_samples=n_samples)
    V = draw(n, n_samples, A, generator, distribution)
    value, error = _mean((V * (A @ V)).sum(dim=0))
    return TraceEstimate(value, error, n_samples)


def hutchpp_trace(A: LinearOperator, n_products: int, *, generator: Seed = 0) -> TraceEstimate:
    """Hutch++ (Meyer, Musco, Musco & Woodruff 2021, algorithm 1): the trace on a sketched range, exactly, plus
    Hutchinson's estimate of the rest, tr A = tr QᵀAQ + tr (I − QQᵀ)A(I − QQᵀ).

    For a positive semidefinite A the relative error falls as 1/n_products instead of 1/√n_products.

    Args:
        A: square (n, n).
        n_products: at least 3; a third each for the sketch, the exact part and the samples.
        generator: int or CPU torch.Generator.

    Raises:
        ValueError: A is not square, or n_products < 3.
    """
    n = require_square(A, "a trace")
    if n_products < 3:
        raise ValueError(f"Hutch++ needs n_products >= 3; got {n_products}.")
    generator = generator_of(generator)
    third = min(n_products // 3, n)
    Q = _orthonormal(A @ draw(n, third, A, generator, "rademacher"))
    exact = float((Q * (A @ Q)).sum())
    if third == n:
        return TraceEstimate(exact, 0.0, 2 * third)
    G = draw(n, third, A, generator, "rademacher")
    G = G - Q @ (Q.T @ G)
    rest, error = _mean((G * (A @ G)).sum(dim=0))
    return TraceEstimate(exact + rest, error, 3 * third)


def _mean(samples: Tensor) -> tuple[float, float]:
    samples = samples.to(torch.float64)
    error = float(samples.std()) / sqrt(len(samples)) if len(samples) > 1 else float("nan")
    return float(samples.mean()), error
