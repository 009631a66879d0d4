"""One change out of many: mean, task arithmetic, TIES, DARE, in the shared subspace, least squares on activations.

Every function takes a collection and returns a collection of one member, so that a merged change is written, measured
and compared like any other. All act on ΔW: a merge of B and of A, each by itself, depends on how they were chosen.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lab.geometry.collections.collection import Collection, Member
from lab.geometry.collections.stack import Change
from lab.geometry.collections.task_subspace import combined, task_subspace
from lab.linalg import LowRank


def _merged(collection: Collection, name: str, read: Callable[[str], Change]) -> Collection:
    return replace(collection, members=(Member(name),), read=lambda _, matrix: read(matrix))


def mean(collection: Collection) -> Collection:
    """(1/N) Σ ΔW_i."""
    weights = np.full((1, len(collection)), 1 / len(collection))
    return combined(collection, weights, (Member("mean"),))


def task_arithmetic(collection: Collection, scale: float = 1.0) -> Collection:
    """λ Σ ΔW_i (Ilharco et al. 2023).

    Args:
        collection: the members.
        scale: λ; 0 is the base, 1/N the mean. The authors tune it on held-out data.
    """
    return combined(collection, np.full((1, len(collection)), scale), (Member("task arithmetic"),))


def ties(collection: Collection, *, density: float = 0.2, scale: float = 1.0) -> Collection:
    """TIES (Yadav et al. 2023): trim, elect signs, mean of those that agree.

    Of every ΔW_i the largest `density` of the entries stay; γ = sgn Σ_i of what stays; the merged entry is the mean
    over the members whose entry has sign γ, times λ. The authors trim the whole task vector; here each matrix, as peft
    does, since matrices are read one by one.

    Args:
        collection: the members.
        density: in (0, 1]. Default 0.2, the authors'.
        scale: λ. Default 1, the authors'.

    Raises:
        ValueError: density outside (0, 1].
    """
    if not 0 < density <= 1:
        raise ValueError(f"density must be in (0, 1]; got {density}.")

    def read(name: str) -> Tensor:
        changes = torch.stack([_trimmed(_dense(collection.change(i, name)), density) for i in range(len(collection))])
        elected = torch.sgn(changes.sum(dim=0))
        agrees = (torch.sgn(changes) == elected) & (changes != 0)
        return scale * (changes * agrees).sum(dim=0) / agrees.sum(dim=0).clamp(min=1)

    return _merged(collection, "TIES", read)


def _trimmed(dw: Tensor, density: float) -> Tensor:
    """The ⌊density·mn⌋ largest entries by magnitude, the others 0."""
    flat = dw.reshape(-1)
    kept = flat.abs().topk(int(density * flat.numel())).indices
    return torch.zeros_like(flat).index_copy(0, kept, flat[kept]).reshape(dw.shape)


def dare(collection: Collection, *, drop: float = 0.5, scale: float = 1.0, seed: int = 0) -> Collection:
    """DARE (Yu et al. 2024): drop entries at random, divide the others by 1 − p, then λ Σ of what is left.

    The expectation over the draws is task arithmetic.

    Args:
        collection: the members.
        drop: p in [0, 1). Default 0.5; the authors go up to 0.9.
        scale: λ.
        seed: of the draws, independent for every member and matrix.

    Raises:
        ValueError: drop outside [0, 1).
    """
    if not 0 <= drop < 1:
        raise ValueError(f"drop must be in [0, 1); got {drop}.")

    def read(name: str) -> Tensor:
        total = torch.zeros(collection.shapes[name], dtype=collection.dtype)
        for i in range(len(collection)):
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{i}/{name}".encode()))
            kept = torch.rand(total.shape, generator=generator, dtype=torch.float64) >= drop
            total += _dense(collection.change(i, name)) * kept / (1 - drop)
        return scale * total

    return _merged(collection, "DARE", read)


def in_subspace(collection: Collection, k: int, scale: float = 1.0) -> Collection:
    """λ Σ of the members' projections on the k leading directions through 0: what several of them share is added up.

    Task arithmetic at k = N. Around the mean nothing new would come of it: the mean of the projections is the mean for
    every k.

    Args:
        collection: the members.
        k: directions, at most what the members span.
        scale: λ.

    Raises:
        ValueError: as `task_subspace`.
    """
    subspace = task_subspace(collection, k, centre=False)
    weights = scale * subspace.weights(subspace.coordinates()).sum(axis=0, keepdims=True)
    return combined(collection, weights, (Member("subspace"),))


def least_squares(collection: Collection, moments: Callable[[int, str], Tensor], *, ridge: float = 1e-3) -> Collection:
    """argmin_ΔW Σ_i ‖(ΔW − ΔW_i)X_i‖_F² = (Σ ΔW_iC_i)(Σ C_i)⁻¹ with C_i = X_iX_iᵀ (Jin et al. 2023).

    Each layer of the merged PLM answers a task's inputs as that task's own layer does, as well as one matrix can. Every
    C_i gets ρ·tr(C_i)/n on its diagonal (the authors shrink what is beside it instead): along directions without inputs
    the result is the mean, and one member comes back as it is.

    Args:
        collection: the members.
        moments: (member, matrix) -> C_i (n, n), second moment of the inputs of that matrix on the member's task.
        ridge: ρ > 0. Default 1e-3, small against the mean eigenvalue.

    Raises:
        ValueError: ridge is not positive; when read: a moment has another shape or is zero.
    """
    if ridge <= 0:
        raise ValueError(f"ridge must be positive, or directions without inputs have no answer; got {ridge}.")

    def read(name: str) -> Change:
        n = collection.shapes[name][1]
        weighted: list[Change] = []
        total = torch.zeros(n, n, dtype=collection.dtype)
        for i, member in enumerate(collection.members):
            C = moments(i, name).to(collection.dtype)
            if tuple(C.shape) != (n, n) or not float(C.trace()) > 0:
                raise ValueError(
                    f"member {member.name!r}: the second moment of the inputs of {name!r} must be ({n}, {n}) and not "
                    f"zero; got shape {tuple(C.shape)}."
                )
            C = C + ridge * C.trace() / n * torch.eye(n, dtype=C.dtype)
            change = collection.change(i, name)
            weighted.append(LowRank(change.left, change.right @ C) if isinstance(change, LowRank) else change @ C)
            total += C
        if all(isinstance(part, LowRank) for part in weighted):
            left = torch.cat([part.left for part in weighted], dim=1)  # type: ignore[union-attr]
            right = torch.cat([part.right for part in weighted])  # type: ignore[union-attr]
            return LowRank(left, torch.linalg.solve(total, right.T).T)  # total is symmetric
        return torch.linalg.solve(total, torch.stack([_dense(part) for part in weighted]).sum(dim=0).T).T

    return _merged(collection, "least squares", read)


def _dense(change: Change) -> Tensor:
    return change.left @ change.right if isinstance(change, LowRank) else change
