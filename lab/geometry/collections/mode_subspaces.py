"""Per matrix, the inputs and outputs that all members share: the truncated higher-order SVD (Tucker decomposition)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.faces import outlined
from lab.geometry.collections.collection import Collection
from lab.geometry.collections.gram import Gram
from lab.geometry.collections.stack import Side, Stack, stacked
from lab.linalg import Layout, LinearOperator, LowRank, Matrix, Part, randomized_svd

Array = NDArray[np.float64]

EXACT = 768
"""Up to so many columns of an unfolding its Gram matrix is decomposed in full; above, its leading part by a randomised
range finder. Found by timing: beyond, the full decomposition costs more than the Gram matrix itself."""


@dataclass(frozen=True, eq=False)
class ModeSubspace:
    """The leading subspace of one mode of one matrix.

    Attributes:
        basis: (d, k), orthonormal columns.
        energy: Σ_i‖ΔW_i‖_F².
        kept: Σ_i‖basisᵀΔW_i‖_F² ("left"; ‖ΔW_i basis‖_F² for "right").
    """

    basis: Tensor
    energy: float
    kept: float

    @property
    def discarded(self) -> float:
        """Σ of the squared singular values of the unfolding that the subspace leaves out, of this very basis."""
        return max(0.0, self.energy - self.kept)


@outlined
@dataclass(frozen=True, eq=False)
class ModeSubspaces:
    """ΔW_i ≈ U C_i Vᵀ for every matrix: U, V for all members, a core C_i = UᵀΔW_iV for each.

    Attributes:
        collection: the members.
        left, right: name of a matrix -> the subspace of its outputs, of its inputs.
        cores: name -> (N, p, q).
        energies: (matrices, N): ‖ΔW_i‖_F².
    """

    collection: Collection
    left: Mapping[str, ModeSubspace]
    right: Mapping[str, ModeSubspace]
    cores: Mapping[str, Tensor]
    energies: Array

    @property
    def errors(self) -> Array:
        """(N,): ‖ΔW_i − U C_i Vᵀ‖_F over all matrices, from ‖ΔW_i‖² − ‖C_i‖²: known down to 1e-8 of the norm."""
        kept = np.stack([core.double().square().sum(dim=(1, 2)).numpy() for core in self.cores.values()])
        return np.sqrt(np.maximum(self.energies - kept, 0.0).sum(axis=0))

    @property
    def error_bound(self) -> float:
        """√(Σ of what both modes discard) ≥ √Σ_i‖ΔW_i − U C_i Vᵀ‖² (De Lathauwer, De Moor & Vandewalle 2000).

        ΔW − PΔWQ = (I − P)ΔW + PΔW(I − Q), two orthogonal parts; the second is at most ΔW(I − Q).
        """
        modes = (*self.left.values(), *self.right.values())
        return sqrt(sum(mode.discarded for mode in modes))

    @property
    def size(self) -> int:
        """Numbers that bases and cores hold."""
        bases = sum(mode.basis.numel() for modes in (self.left, self.right) for mode in modes.values())
        return bases + sum(core.numel() for core in self.cores.values())

    @property
    def layout(self) -> Layout:
        """The coordinates: one core per matrix."""
        return Layout(tuple(Part(name, tuple(core.shape[1:])) for name, core in self.cores.items()))

    @property
    def basis(self) -> LinearOperator:
        """The operator (C of every matrix) ↦ (U C Vᵀ of every matrix), with orthonormal columns: to train in."""
        return _Bilinear(self)

    def reconstruction(self) -> Collection:
        """U C_i Vᵀ for every member, no rank above its own."""

        def read(i: int, name: str) -> LowRank:
            return LowRank(self.left[name].basis @ self.cores[name][i], self.right[name].basis.T)

        return replace(self.collection, read=read)


class _Bilinear(LinearOperator):
    def __init__(self, modes: ModeSubspaces):
        self.modes, self.dtype = modes, modes.collection.dtype
        self.shape = (modes.collection.layout.size, modes.layout.size)

    def _matmat(self, X: Tensor) -> Tensor:
        columns = []
        for x in X.to(self.dtype).T:
            cores = self.modes.layout.unflatten(x)
            wide = {
                name: self.modes.left[name].basis @ core @ self.modes.right[name].basis.T
                for name, core in cores.items()
            }
            columns.append(self.modes.collection.layout.flatten(wide))
        return torch.stack(columns, dim=1).to(X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        columns = []
        for y in Y.to(self.dtype).T:
            wide = self.modes.collection.layout.unflatten(y)
            cores = {n: self.modes.left[n].basis.T @ W @ self.modes.right[n].basis for n, W in wide.items()}
            columns.append(self.modes.layout.flatten(cores))
        return torch.stack(columns, dim=1).to(Y)


def mode_subspaces(collection: Collection, k: int) -> ModeSubspaces:
    """The truncated HOSVD of every matrix's stack of changes.

    U is the leading left singular subspace of [ΔW_1 … ΔW_N], V that of [ΔW_1ᵀ … ΔW_Nᵀ]; for factors from the ρ × ρ Gram
    matrix of [s_iB_i(A_iA_iᵀ)^½ …], so that no choice of factors matters. See `EXACT` for large ones.

    Args:
        collection: the members.
        k: dimension of U and of V; less where a matrix is smaller, or the members span less.

    Raises:
        ValueError: k < 1.
    """
    return survey(collection, k)[1]


def survey(collection: Collection, k: int) -> tuple[Gram, ModeSubspaces]:
    """Gram matrix and mode subspaces in one pass over the files: products of factors serve both.

    Raises:
        ValueError: k < 1.
    """
    if k < 1:
        raise ValueError(f"mode subspaces need k >= 1; got {k}.")
    grams, left, right, cores = [], {}, {}, {}
    for name, stack in collection.stacks():
        grams.append(stack.gram().numpy())
        left[name], right[name] = mode_subspace(stack, k, "left"), mode_subspace(stack, k, "right")
        cores[name] = stack.cores(left[name].basis, right[name].basis)
    values = np.stack(grams)
    energies = np.diagonal(values, axis1=1, axis2=2)
    inner = Gram(collection.members, collection.names, values, torch.finfo(collection.dtype).eps)
    return inner, ModeSubspaces(collection, left, right, cores, energies)


def mode_subspace(stack: Stack, k: int, side: Side) -> ModeSubspace:
    """The k leading directions of one mode of a stack: "left" are outputs, "right" inputs.

    Cost: ρ²(m + k) beyond the Gram matrix of the factors; ρ the sum of the members' ranks.
    """
    X, K = stack.mode_gram(side)
    width = min(k, *X.shape)
    energy = float(torch.diagonal(K).double().sum())
    if K.shape[0] <= EXACT:
        vectors = torch.linalg.eigh(K).eigenvectors.flip(1)[:, :width]
    else:
        vectors = randomized_svd(Matrix(K), width).U  # K is symmetric positive semidefinite
    # directions that no member has come out as rounding of nothing: leave them out
    lengths = torch.linalg.vector_norm(X @ vectors, dim=0)
    kept = lengths.square() > 10 * K.shape[0] * torch.finfo(K.dtype).eps * energy
    basis = torch.linalg.qr((X @ vectors)[:, kept] / lengths[kept]).Q
    return ModeSubspace(basis, energy, float((basis.T @ X).double().square().sum()))


def mode_shares(collection: Collection, bases: Mapping[str, Tensor], side: Side) -> Array:
    """(N, k): share of Σ‖ΔW_i‖_F² that the first 1 … k columns of given bases hold, over all matrices.

    Args:
        collection: the members.
        bases: name of a matrix -> orthonormal columns Q, (n, k) inputs or (m, k) outputs, the most important first;
            one k for all.
        side: "right" when Q are inputs (‖ΔW_iQ‖²), "left" when they are outputs (‖QᵀΔW_i‖²).

    Raises:
        ValueError: a matrix has no basis, or one of another size.
    """
    widths = {basis.shape[1] for basis in bases.values()}
    held: list[Array] = []
    total = np.zeros(len(collection))
    for name, stack in collection.stacks():
        length = stack.shape[0 if side == "left" else 1]
        if name not in bases or bases[name].shape[0] != length or len(widths) > 1:
            got = tuple(bases[name].shape) if name in bases else "nothing"
            raise ValueError(
                f"matrix {name!r} needs a {side} basis with {length} rows, as wide as the others {sorted(widths)}; "
                f"got {got}."
            )
        held.append(stack.energies(bases[name].to(collection.dtype), side).double().numpy())
        total += np.diagonal(stack.gram().numpy())
    return np.cumsum(sum(held), axis=1) / total[:, None]


def leave_out_modes(collection: Collection, k: int, side: Side = "right") -> Array:
    """(N, k): the same shares for the mode subspaces of the *other* members: what a task shares with the rest.

    Cost: N decompositions per matrix; for collections in which these are small.

    Raises:
        ValueError: fewer than two members, or k < 1.
    """
    if len(collection) < 2 or k < 1:
        raise ValueError(f"leaving one out needs two members and k >= 1; got {len(collection)} members, k = {k}.")
    held, total = np.zeros((len(collection), k)), np.zeros(len(collection))
    for name in collection.names:
        changes = [collection.change(i, name) for i in range(len(collection))]
        for i, own in enumerate(changes):
            others = stacked([change for j, change in enumerate(changes) if j != i])
            mine = stacked([own])
            found = mine.energies(mode_subspace(others, k, side).basis, side)[0].numpy()
            held[i, : len(found)] += found
            total[i] += float(mine.gram())
    return np.cumsum(held, axis=1) / total[:, None]
