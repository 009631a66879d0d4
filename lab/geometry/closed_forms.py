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


# bounds of the theory, checked on random problems


def lipschitz_gap(*, D: int = 40, d: int = 10, seed: int = 0) -> tuple[float, float]:
    """What a random subspace costs a 1-Lipschitz loss, and its bound: min_δ F(θ₀ + Pδ) − F(θ⁺) ≤ dist(θ⁺−θ₀, range P).

    F(θ) = ½(‖θ − θ⁺‖ + Σ_i w_i |sin(θ_i − θ⁺_i)|) with w on the unit sphere: 1-Lipschitz, not convex, F(θ⁺) = 0. The
    minimum over the subspace is bounded from above by the least value found from the projection of θ⁺ and from a local
    search, so the gap returned is at least the true one.

    Returns:
        The gap found and the bound L·dist with L = 1.
    """
    generator = torch.Generator().manual_seed(seed)
    e = torch.randn(D, generator=generator, dtype=torch.float64)  # θ⁺ − θ₀
    w = torch.randn(D, generator=generator, dtype=torch.float64).abs()
    w = w / w.norm()
    Q = torch.linalg.qr(torch.randn(D, d, generator=generator, dtype=torch.float64)).Q

    def F(phi: Tensor) -> Tensor:
        r = Q @ phi - e
        return 0.5 * (r.norm() + (w * r.sin().abs()).sum())

    projected = Q.T @ e
    phi = projected.clone().requires_grad_()
    search = torch.optim.LBFGS([phi], max_iter=50, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        search.zero_grad()
        value = F(phi)
        value.backward()
        return value

    search.step(step)  # type: ignore[arg-type]  # the closure's annotation wants a float
    with torch.no_grad():
        gap = min(float(F(phi)), float(F(projected)))
    return gap, float((e - Q @ projected).norm())


def function_space_gaps(*, n_points: int = 4001, epsilon: float = 0.3, seed: int = 0) -> tuple[float, float, float]:
    """Two functions on an interval, uniformly ε-close: |min F − min F̂| ≤ ε and F(argmin F̂) − min F ≤ 2ε.

    F is a random trigonometric polynomial, F̂ = F + ε·(another one, scaled to at most 1 in size); both on a fine grid,
    where the two statements hold exactly as on the interval.

    Returns:
        |min F − min F̂|, F(argmin F̂) − min F, and sup |F − F̂| ≤ ε, the ε of both bounds.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.linspace(0, 1, n_points, dtype=torch.float64)

    def polynomial() -> Tensor:
        a, b = torch.randn(2, 8, generator=generator, dtype=torch.float64)
        angles = 2 * torch.pi * torch.arange(1, 9, dtype=torch.float64)[:, None] * x
        return a @ angles.sin() + b @ angles.cos()

    F, change = polynomial(), polynomial()
    near = F + epsilon * change / change.abs().max()
    values = float((F.min() - near.min()).abs())
    regret = float(F[near.argmin()] - F.min())
    return values, regret, float((F - near).abs().max())
