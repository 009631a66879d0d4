"""Principal angles between subspaces, accurate when small, and the angles random subspaces have."""

from __future__ import annotations

import torch
from torch import Tensor

from lab.linalg.draws import Seed, generator_of, require_positive


def principal_angles(U: Tensor, V: Tensor) -> Tensor:
    """Angles 0 ≤ θ_1 ≤ … ≤ θ_q ≤ π/2 between span U and span V, q = min of the dimensions.

    cos θ are the singular values of Q_UᵀQ_V (Björck & Golub 1973); an angle below √eps is lost there, as its cosine
    is 1 to rounding. So angles under π/4 come from their sines, the singular values of (I − Q_U Q_Uᵀ) Q_V (Knyazev &
    Argentati 2002, algorithm 3.1).

    Args:
        U: (n, k), any basis of full column rank; it is orthonormalised.
        V: (n, l), likewise.

    Returns:
        (min(k, l),) in radians, ascending, float64.

    Raises:
        ValueError: the ambient dimensions differ, columns are dependent or more than n, or an entry is not finite.

    Example:
        >>> e = torch.eye(3, dtype=torch.float64)
        >>> tilted = e[:, :1] + 1e-12 * e[:, 1:2]
        >>> abs(float(principal_angles(e[:, :1], tilted)) - 1e-12) < 1e-20
        True
    """
    QU, QV = _orthonormal(U, "U"), _orthonormal(V, "V")
    if QU.shape[0] != QV.shape[0]:
        raise ValueError(f"U and V must live in one space; got {QU.shape[0]} and {QV.shape[0]} rows.")
    if QU.shape[1] < QV.shape[1]:
        QU, QV = QV, QU  # the sines below are those of the smaller subspace
    overlap = QU.T @ QV
    cosines = torch.linalg.svdvals(overlap).clamp(max=1.0)
    sines = torch.linalg.svdvals(QV - QU @ overlap).clamp(max=1.0).flip(0)  # ascending, like the angles
    return torch.where(cosines**2 > 0.5, torch.asin(sines), torch.acos(cosines))


def _orthonormal(U: Tensor, name: str) -> Tensor:
    if U.ndim != 2 or U.shape[1] > U.shape[0]:
        raise ValueError(f"{name} must be a basis (n, k) with k <= n; got shape {tuple(U.shape)}.")
    if not bool(torch.isfinite(U).all()):
        raise ValueError(f"{name} has non-finite entries.")
    U = U.to(torch.float64)
    scale = torch.linalg.vector_norm(U, dim=0)
    Q, R = torch.linalg.qr(U / scale.clamp(min=torch.finfo(torch.float64).tiny))
    if U.shape[1] and float(torch.linalg.svdvals(R)[-1]) <= U.shape[0] * torch.finfo(torch.float64).eps:
        raise ValueError(f"the {U.shape[1]} columns of {name} are linearly dependent; pass a basis.")
    return Q


def random_angles(n: int, k: int, l: int, *, n_samples: int = 200, generator: Seed = 0) -> Tensor:
    """Principal angles between independent uniformly random subspaces of R^n, of dimensions k and l: the null.

    By rotation invariance one of them can be fixed as span(e_1 … e_l), so a sample costs one QR of an (n, k) matrix.

    Returns:
        (n_samples, min(k, l)), ascending in each row, float64.

    Raises:
        ValueError: a dimension is below 1 or above n.
    """
    require_positive(n=n, k=k, l=l, n_samples=n_samples)
    if max(k, l) > n:
        raise ValueError(f"subspaces of R^{n} have dimension at most {n}; got k = {k}, l = {l}.")
    generator = generator_of(generator)
    fixed = torch.eye(n, l, dtype=torch.float64)
    samples = []
    for _ in range(n_samples):
        G = torch.randn(n, k, generator=generator, dtype=torch.float64)
        samples.append(principal_angles(fixed, G))
    return torch.stack(samples)


def random_angle_band(
    n: int, k: int, l: int, *, confidence: float = 0.95, n_samples: int = 200, generator: Seed = 0
) -> tuple[Tensor, Tensor]:
    """Pointwise band (low, high) of the i-th principal angle of random subspaces, each (min(k, l),), in radians."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1); got {confidence}.")
    samples = random_angles(n, k, l, n_samples=n_samples, generator=generator)
    tail = (1 - confidence) / 2
    return torch.quantile(samples, tail, dim=0), torch.quantile(samples, 1 - tail, dim=0)
