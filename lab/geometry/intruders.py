"""Intruder dimensions: leading directions of tuned weights that no direction of the base resembles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.faces import outlined
from lab.linalg import LowRank, Matrix, Spectrum, lanczos, require_finite

_DENSE_LIMIT = 1024  # above it, k leading vectors by Lanczos are cheaper than a full decomposition


@outlined
@dataclass(frozen=True, eq=False)
class Intruders:
    """The k leading left singular vectors of W₁ against all of W₀'s.

    Attributes:
        overlaps: (k,), max_i |⟨u_j of W₁, u_i of W₀⟩| in [0, 1].
        nearest: (k,), the i at which it is attained.
        values: (k,), σ_j of W₁, decreasing.
        left: (m, k), u_j of W₁.
        right: (n, k), v_j of W₁.
        epsilon: the line below which an overlap makes an intruder.
    """

    overlaps: NDArray[np.float64]
    nearest: NDArray[np.int64]
    values: NDArray[np.float64]
    left: Tensor
    right: Tensor
    epsilon: float

    @property
    def indices(self) -> tuple[int, ...]:
        """Positions j (from 0) of the intruders among the singular values of W₁."""
        return tuple(int(j) for j in np.flatnonzero(self.overlaps < self.epsilon))

    @property
    def count(self) -> int:
        return len(self.indices)


def intruder_dimensions(
    W0: Tensor, W1: Tensor | LowRank, k: int = 10, epsilon: float = 0.5, *, base: Spectrum | None = None
) -> Intruders:
    """Left singular vectors j ≤ k of W₁ with max_i |⟨u_j(W₁), u_i(W₀)⟩| < ε (Shuttleworth et al. 2024, algorithm 1).

    Only W₀ needs a full decomposition; pass it as `base` when the same W₀ is met again.

    Args:
        W0: base weights (m, n).
        W1: tuned weights (m, n), dense.
        k: leading vectors looked at; 10 in the paper, capped at min(m, n).
        epsilon: 0.5 in the paper.
        base: spectrum of W₀ with its vectors.

    Warning:
        Where neighbouring singular values of W₀ are close, a small change rotates their vectors into each other, and a
        "new" direction may lie in the span of two old ones. Look at a sweep over ε before believing a count.

    Raises:
        ValueError: shapes differ, k < 1, ε is not in (0, 1], or an entry is not finite.
    """
    W1 = W1.to_dense() if isinstance(W1, LowRank) else W1
    if W0.ndim != 2 or W0.shape != W1.shape:
        raise ValueError(f"W₀ and W₁ must be matrices of one shape; got {tuple(W0.shape)} and {tuple(W1.shape)}.")
    if k < 1 or not 0 < epsilon <= 1:
        raise ValueError(f"k must be >= 1 and epsilon in (0, 1]; got {k} and {epsilon}.")
    U0 = _left_vectors(base if base is not None else Spectrum.of(W0, vectors=True))
    k = min(k, *W0.shape)
    U1, S1, V1 = _leading(W1, k)
    products = (U0.T @ U1).abs()  # (min(m, n), k)
    if not products.numel():
        empty = np.zeros(0)
        return Intruders(empty, empty.astype(np.int64), empty, U1, V1, epsilon)
    best = products.max(dim=0)
    overlaps = best.values.clamp(max=1.0).cpu().numpy()
    return Intruders(overlaps, best.indices.cpu().numpy(), S1.cpu().numpy(), U1, V1, epsilon)


def intruder_sweep(
    W0: Tensor,
    W1: Tensor,
    ks: Sequence[int] = (1, 5, 10, 20, 50),
    epsilons: Sequence[float] = (0.3, 0.4, 0.5, 0.6, 0.7),
) -> pd.DataFrame:
    """How the count depends on k and ε: one row per pair (k, epsilon, count), from one decomposition."""
    all_k = intruder_dimensions(W0, W1, k=max(ks))
    rows = [
        {"k": k, "epsilon": epsilon, "count": int((all_k.overlaps[:k] < epsilon).sum())}
        for k in ks
        for epsilon in epsilons
    ]
    return pd.DataFrame(rows)


def intruders_by_strength(
    W0: Tensor, delta_w: Tensor | LowRank, strengths: Sequence[float], *, k: int = 10, epsilon: float = 0.5
) -> pd.DataFrame:
    """Intruders of W₀ + t·ΔW over t: what happens, to be put beside `forecast_intruder`.

    Returns:
        One row per t: strength, count, lowest_overlap, first (position of the first intruder, from 1; missing if none).
    """
    base = Spectrum.of(W0, vectors=True)
    delta = (delta_w.to_dense() if isinstance(delta_w, LowRank) else delta_w).to(torch.float64)
    rows = []
    for strength in strengths:
        found = intruder_dimensions(W0, W0.to(torch.float64) + strength * delta, k, epsilon, base=base)
        rows.append(
            {
                "strength": strength,
                "count": found.count,
                "lowest_overlap": float(found.overlaps.min()) if len(found.overlaps) else float("nan"),
                "first": found.indices[0] + 1 if found.count else None,
            }
        )
    return pd.DataFrame(rows).astype({"first": "Int64"})


def mitigate(W1: Tensor, intruders: Intruders, strength: float) -> Tensor:
    """W₁ + (λ − 1)·Σ_j σ_j u_j v_jᵀ over the intruders: λ = 1 changes nothing, λ = 0 removes them.

    Args:
        W1: tuned weights (m, n).
        intruders: found in this W₁.
        strength: λ.
    """
    chosen = list(intruders.indices)
    if tuple(W1.shape) != (intruders.left.shape[0], intruders.right.shape[0]):
        raise ValueError(
            f"these intruders were found in a matrix of shape {(intruders.left.shape[0], intruders.right.shape[0])}; "
            f"got {tuple(W1.shape)}."
        )
    if not chosen or strength == 1:
        return W1.clone()
    sigma = torch.as_tensor(intruders.values[chosen]).to(intruders.left)
    part = (intruders.left[:, chosen] * sigma) @ intruders.right[:, chosen].T
    return W1 + (strength - 1) * part.to(W1)


def _left_vectors(spectrum: Spectrum) -> Tensor:
    if spectrum.left is None:
        raise ValueError("base has no singular vectors; build it with Spectrum.of(W0, vectors=True).")
    return spectrum.left


def _leading(W: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """k leading singular triplets in float64; by Lanczos on the Gram operator where the matrix is large.

    The Gram operator squares the condition number, which costs small singular values, not leading ones.
    """
    W = W.detach().to(torch.float64)
    require_finite(W, "W₁")
    if min(W.shape) <= _DENSE_LIMIT or k > min(W.shape) // 8:
        U, S, Vh = torch.linalg.svd(W, full_matrices=False)
        return U[:, :k], S[:k], Vh[:k].T
    A = Matrix(W)
    found = lanczos(A @ A.T, k, max_iterations=min(W.shape))
    U = found.ritz_vectors
    S = found.ritz_values.clamp(min=0).sqrt().to(U)
    return U, S, (A.T @ U) / S.clamp(min=torch.finfo(torch.float64).tiny)
