"""The subspace that a collection spans: principal components of ΔW, an operator one can train in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.geometry.collections.collection import Collection, Member
from lab.geometry.collections.gram import Gram, centred, gram, overlaps, principal
from lab.linalg import Layout, LinearOperator, Matrix

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Subspace:
    """An affine subspace {origin + basis·x} of R^D, D the entries of a collection's matrices.

    Origin and directions are combinations of the members, basis = [ΔW_1 … ΔW_N]·`directions`, so that nothing of size D
    is held until a product is asked for.

    Attributes:
        collection: the members.
        gram: their inner products.
        directions: (N, k); its columns give orthonormal points of R^D.
        centre: (N,); the origin is Σ_i centre_i ΔW_i: 1/N each for the mean, 0 for a linear subspace.
        variances: (K,) decreasing, K ≥ k: the squared lengths Σ_i c_ij² of the members along every principal
            direction, those that were cut off too.
    """

    collection: Collection
    gram: Gram
    directions: Array
    centre: Array
    variances: Array

    @property
    def k(self) -> int:
        """Its dimension."""
        return self.directions.shape[1]

    @property
    def layout(self) -> Layout:
        """R^D = ⊕ of the matrices."""
        return self.collection.layout

    @property
    def basis(self) -> LinearOperator:
        """(D, k) with orthonormal columns."""
        return self.collection.vectors() @ Matrix(torch.from_numpy(self.directions).to(self.collection.dtype))

    @property
    def origin(self) -> Tensor:
        """(D,), in memory: for training in the subspace."""
        return self.collection.vectors() @ torch.from_numpy(self.centre).to(self.collection.dtype)

    @property
    def explained(self) -> Array:
        """(K,): share of the members' summed squared distance from the origin that the first 1, 2, … directions hold.

        N isotropic members around their mean give k/(N − 1), and a little more as the largest are taken first: no more
        than (1 + √((N − 1)/D))² times as much (Marchenko & Pastur 1967).
        """
        total = self.variances.sum()
        return np.cumsum(self.variances) / total if total else np.zeros(0)

    @property
    def error(self) -> float:
        """√Σ_i‖ΔW_i − its projection‖²: the root of the sum of the variances cut off."""
        return float(np.sqrt(self.variances[self.k :].sum()))

    def coordinates(self, other: Collection | None = None) -> Array:
        """(N', k): basisᵀ(ΔW − origin) of the members, or of those of another collection of the same matrices."""
        own = self.gram.total
        between = own if other is None else overlaps(self.collection, other)
        return (between - (own @ self.centre)[:, None]).T @ self.directions

    def weights(self, coordinates: Array) -> Array:
        """(N', N): the points with given coordinates (N', k), as combinations of the members."""
        return self.centre + coordinates @ self.directions.T

    def points(self, coordinates: Array, members: tuple[Member, ...]) -> Collection:
        """The points with given coordinates (N', k) as a collection: ΔW = origin + Σ_j x_j E_j, of low rank again.

        Raises:
            ValueError: as many coordinates as members, or as directions, were not given.
        """
        if coordinates.shape != (len(members), self.k):
            raise ValueError(
                f"{len(members)} points of a {self.k}-dimensional subspace need coordinates of shape "
                f"{(len(members), self.k)}; got {coordinates.shape}."
            )
        return combined(self.collection, self.weights(coordinates), members)

    def reconstruction(self) -> Collection:
        """The members' projections on the subspace, as a collection: the members themselves at k = N − 1.

        Their mean is that of the members for every k where the origin is the mean: coordinates sum to zero.
        """
        return self.points(self.coordinates(), self.collection.members)


def combined(collection: Collection, weights: Array, members: tuple[Member, ...]) -> Collection:
    """The collection of Σ_i w_ji ΔW_i for every row j of the weights (N', N); each read costs all members' matrix."""
    rows = torch.from_numpy(np.ascontiguousarray(weights, dtype=np.float64)).to(collection.dtype)
    return replace(collection, members=members, read=lambda j, name: collection.stack(name).mixture(rows[j]))


def task_subspace(collection: Collection, k: int | None = None, *, centre: bool = True) -> Subspace:
    """The k leading principal directions of a collection, from its Gram matrix: PCA of the points ΔW_i ∈ R^D.

    With H = I − 11ᵀ/N and HGH a_j = λ_j a_j, the direction E_j = Σ_i (Ha_j)_i ΔW_i/√λ_j has norm 1, and λ_j is the
    squared length of the members along it. No dense ΔW is formed where members are factors, and nothing depends on the
    choice of factors.

    Args:
        collection: N members.
        k: dimension; default all, N − 1 at most (N without a centre).
        centre: around the mean of the members. Otherwise a linear subspace through 0, to scale and add up in.

    Returns:
        A subspace to read, to write adapters from, and to train in: `delta.restrict(subspace.basis,
        origin=subspace.origin)` for a delta on the same matrices (`MatrixUpdate`).

    Raises:
        ValueError: k is negative, or more than the members span.
    """
    return subspace_of(collection, gram(collection), k, centre=centre)


def subspace_of(collection: Collection, inner: Gram, k: int | None = None, *, centre: bool = True) -> Subspace:
    """`task_subspace` where the Gram matrix is at hand."""
    N, G = len(collection), inner.total
    variances, vectors = principal(centred(G) if centre else G, scale=float(np.diagonal(G).max()), eps=inner.eps)
    k = len(variances) if k is None else k
    if not 0 <= k <= len(variances):
        raise ValueError(
            f"k must be in 0 … {len(variances)}, what {N} members span{' around their mean' if centre else ''}; got "
            f"{k}."
        )
    directions = vectors[:, :k] / np.sqrt(variances[:k])
    if centre:
        directions = directions - directions.mean(axis=0)
    return Subspace(collection, inner, directions, np.full(N, 1 / N if centre else 0.0), variances)
