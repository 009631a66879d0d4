"""Problems whose intrinsic dimension has a closed form: the quadratic, and the toy of Li et al. 2018."""

from __future__ import annotations

import torch
from torch import Tensor

from lab.linalg import LinearOperator


def subspace_minimum(A: Tensor, P: LinearOperator, e: Tensor) -> tuple[Tensor, Tensor]:
    """Minimiser and minimum of F(φ) = ½ (e − Pφ)ᵀ A (e − Pφ), the quadratic loss seen from θ₀ with e = θ⁺ − θ₀.

    φ* = (PᵀAP)⁻¹ PᵀA e and F* = ½ eᵀ[A − AP(PᵀAP)⁻¹PᵀA] e. With A = I and an isotropic random P of d columns in R^D,
    E F* = ½‖e‖²(1 − d/D): a random subspace needs d ≈ D unless few directions are stiff.

    Args:
        A: symmetric positive definite, (D, D).
        P: (D, d) of full column rank.
        e: (D,).

    Returns:
        φ* (d,) and F* (scalar).
    """
    columns = P.to_dense()
    AP = A @ columns
    phi = torch.linalg.solve(columns.T @ AP, AP.T @ e)
    rest = e - columns @ phi
    return phi, 0.5 * rest @ (A @ rest)


def grouped_sums_loss(theta: Tensor, n_groups: int = 10) -> Tensor:
    """The toy of Li et al. 2018, section 2: group k of the coordinates must sum to k = 1 … n_groups.

    ½ Σ_k (Σ_{i ∈ group k} θ_i − k)². The solutions form an affine space of codimension n_groups, so the intrinsic
    dimension is exactly n_groups (10 for their D = 1000).
    """
    sums = theta.reshape(n_groups, -1).sum(dim=1)
    targets = torch.arange(1, n_groups + 1, dtype=theta.dtype, device=theta.device)
    return 0.5 * ((sums - targets) ** 2).sum()


def grouped_sums_minimum(P: LinearOperator, n_groups: int = 10) -> Tensor:
    """Least loss of the toy in θ = P φ, by linear least squares."""
    columns = P.to_dense().to(torch.float64)
    S = columns.reshape(n_groups, -1, columns.shape[1]).sum(dim=1)  # (n_groups, d): sums as a function of φ
    targets = torch.arange(1, n_groups + 1, dtype=S.dtype)
    phi = torch.linalg.lstsq(S, targets[:, None], driver="gelsd").solution
    return 0.5 * ((S @ phi)[:, 0] - targets).square().sum()
