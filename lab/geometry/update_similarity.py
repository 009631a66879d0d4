"""How alike two trained updates of one delta are: the cosine of all their matrices, and their leading subspaces."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import nan, sqrt

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lab.deltas import Delta
from lab.geometry.subspace_similarity import Side, subspace_similarity
from lab.geometry.weight_changes import native_changes, squared_norm
from lab.linalg import LowRank

Update = Mapping[str, Tensor | LowRank]


def update_of(delta: Delta, phi: Tensor) -> dict[str, Tensor | LowRank]:
    """The matrices that φ changes, without a new head: ΔW of native ones, else φ − φ₀ of grafted ones.

    A prompt, a prefix, an adapter has no ΔW; its update is the change of its own matrices, which compares only between
    runs that share φ₀ (one seed), as their coordinates mean something else otherwise.

    Args:
        delta: the map.
        phi: (d,).

    Returns:
        Name -> matrix (m, n), dense or as its factors.
    """
    if native := native_changes(delta, phi):
        return native
    parts = delta.layout.unflatten(phi - delta.phi0)
    return {name: part for name, part in parts.items() if part.ndim == 2 and name not in delta.plm.new_names}


def update_cosine(A: Update, B: Update) -> float:
    """Σ_W ⟨A_W, B_W⟩ / √(Σ_W ‖A_W‖² · Σ_W ‖B_W‖²), over all matrices W; factors are never multiplied out.

    ⟨L₁R₁, L₂R₂⟩ = tr((L₁ᵀL₂)(R₂R₁ᵀ)), so the value does not depend on the choice of factors. For independent random
    updates of D numbers it is 0 ± 1/√D.

    Returns:
        In [−1, 1]; NaN where an update is zero.

    Raises:
        ValueError: the updates have different matrices.
    """
    _require_same(A, B)
    norms = sqrt(sum(map(squared_norm, A.values()))) * sqrt(sum(map(squared_norm, B.values())))
    if norms == 0:
        return nan
    return float(np.clip(sum(_inner(A[name], B[name]) for name in A) / norms, -1.0, 1.0))


def update_subspace_similarity(A: Update, B: Update, *, rank: int = 8, side: Side = "right") -> tuple[float, float]:
    """Mean over matrices of φ(A, B, k, k), k = min(rank, ranks of both) (Hu et al. 2021, eq. 4), and its random level.

    Args:
        A, B: updates with the same matrices.
        rank: how many leading directions. Default 8, the rank of the source text's LoRA.
        side: "right" (inputs) or "left" (outputs).

    Returns:
        (similarity, its mean for random subspaces, k/d); NaN where every matrix is zero in one of the updates.

    Raises:
        ValueError: the updates have different matrices.
    """
    _require_same(A, B)
    found, random = [], []
    for name in A:
        compared = subspace_similarity(A[name], B[name], side=side, max_rank=rank)
        k = min(compared.grid.shape)
        if k:
            found.append(compared.grid[k - 1, k - 1])
            random.append(compared.random[k - 1, k - 1])
    return (float(np.mean(found)), float(np.mean(random))) if found else (nan, nan)


def _require_same(A: Update, B: Update) -> None:
    if not A or A.keys() != B.keys():
        differing = sorted(A.keys() ^ B.keys())[:3]
        raise ValueError(
            f"updates are compared matrix by matrix; got {len(A)} and {len(B)} matrices, of which {differing} are in "
            "one only. Take both from the same method on the same PLM."
        )


def _inner(A: Tensor | LowRank, B: Tensor | LowRank) -> float:
    if isinstance(A, LowRank) and isinstance(B, LowRank):
        L1, R1, L2, R2 = (factor.to(torch.float64) for factor in (A.left, A.right, B.left, B.right))
        return float(torch.trace((L1.T @ L2) @ (R2 @ R1.T)))
    dense = [x.to_dense() if isinstance(x, LowRank) else x for x in (A, B)]
    return float((dense[0].to(torch.float64) * dense[1].to(torch.float64)).sum())


def update_similarities(delta: Delta, phis: Mapping[str, Tensor]) -> pd.DataFrame:
    """One row per pair of tasks: cosine and subspace similarity of their updates, and the latter's random level.

    Args:
        delta: that made the updates.
        phis: task -> (d,), trained on it.

    Returns:
        Columns one, other, cosine, subspace, random; empty for a delta that updates nothing but its head.
    """
    updates = {task: update_of(delta, phi) for task, phi in phis.items()}
    if not all(updates.values()):
        return pd.DataFrame()
    rows = []
    for one, other in combinations(phis, 2):
        similarity, random = update_subspace_similarity(updates[one], updates[other])
        cosine = update_cosine(updates[one], updates[other])
        rows.append({"one": one, "other": other, "cosine": cosine, "subspace": similarity, "random": random})
    return pd.DataFrame(rows)
