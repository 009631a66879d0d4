"""Inner products of the members of a collection: all that its principal directions and shares depend on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lab.faces import outlined
from lab.geometry.collections.collection import Collection, Member, require_same_matrices

Array = NDArray[np.float64]


@outlined
@dataclass(frozen=True, eq=False)
class Gram:
    """G_ij = ⟨ΔW_i, ΔW_j⟩, matrix by matrix.

    Attributes:
        members: of the collection.
        names: the matrices.
        values: (matrices, N, N).
        eps: rounding of the products it was made from, relative to the largest ‖ΔW_i‖².
    """

    members: tuple[Member, ...]
    names: tuple[str, ...]
    values: Array
    eps: float = float(np.finfo(np.float64).eps)

    @property
    def total(self) -> Array:
        """(N, N): summed over the matrices, the Gram matrix of the points in R^D."""
        return self.values.sum(axis=0)

    @property
    def norms(self) -> Array:
        """(N,): ‖ΔW_i‖ over all matrices."""
        return np.sqrt(np.diagonal(self.total))

    @property
    def cosines(self) -> Array:
        """(N, N): ⟨ΔW_i, ΔW_j⟩/(‖ΔW_i‖ ‖ΔW_j‖); 0 where a member is zero."""
        scale = np.where(self.norms > 0, self.norms, 1.0)
        return self.total / np.outer(scale, scale)


def gram(collection: Collection) -> Gram:
    """The Gram matrix of a collection, without any dense ΔW where the members are factors.

    ⟨s_iB_iA_i, s_jB_jA_j⟩ = s_is_j tr((B_iᵀB_j)(A_jA_iᵀ)). Cost per matrix: O((m + n)ρ²), ρ the sum of the ranks; one
    pass over the collection.

    Raises:
        ValueError: as `Collection.change`.
    """
    return Gram(
        collection.members,
        collection.names,
        np.stack([stack.gram().numpy() for _, stack in collection.stacks()]),
        torch.finfo(collection.dtype).eps,
    )


def overlaps(collection: Collection, other: Collection) -> Array:
    """(N, N'): ⟨ΔW_i, ΔW'_j⟩ between the members of two collections of the same matrices.

    Raises:
        ValueError: the matrices or their shapes differ.
    """
    require_same_space(collection, other)
    return np.asarray(
        sum(stack.overlap(other.stack(name)) for name, stack in collection.stacks())  # type: ignore[misc]
    )


def require_same_space(collection: Collection, other: Collection) -> None:
    """Both consist of the same matrices of the same shapes.

    Raises:
        ValueError: they do not.
    """
    both = [collection.members[0], other.members[0]]
    require_same_matrices(both, [collection.shapes, other.shapes])
    for name, shape in collection.shapes.items():
        if other.shapes[name] != shape:
            raise ValueError(
                f"matrix {name!r} has shape {shape} in the collection and {other.shapes[name]} in the other: they are "
                "changes of different PLMs."
            )


def centred(G: Array) -> Array:
    """H G H with H = I − 11ᵀ/N: inner products of the deviations from the mean."""
    H = np.eye(len(G)) - 1 / len(G)
    return H @ G @ H


def principal(G: Array, scale: float, eps: float) -> tuple[Array, Array]:
    """Eigenvalues λ_1 ≥ … > 0 of a Gram matrix above rounding, and its eigenvectors as columns.

    Args:
        G: (N, N), of deviations from a mean.
        scale: the largest ‖ΔW_i‖² before the mean was taken off: rounding is relative to it.
        eps: of the dtype of the products.

    Returns:
        (K,) decreasing, (N, K).
    """
    values, vectors = np.linalg.eigh((G + G.T) / 2)
    kept = np.flatnonzero(values > 10 * len(G) * eps * scale)[::-1]
    return values[kept], vectors[:, kept]
