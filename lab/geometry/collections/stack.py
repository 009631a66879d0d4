"""The changes of one matrix by all members of a collection, as factors side by side or dense."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lab.linalg import LowRank

Change = Tensor | LowRank
Side = Literal["left", "right"]


class Stack(ABC):
    """ΔW_1 … ΔW_N of one matrix, in one dtype; inner products come out in float64."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(m, n)."""

    @property
    @abstractmethod
    def size(self) -> int:
        """N."""

    @abstractmethod
    def gram(self) -> Tensor:
        """(N, N): ⟨ΔW_i, ΔW_j⟩."""

    @abstractmethod
    def mixture(self, weights: Tensor) -> Change:
        """Σ_i w_i ΔW_i for w (N,), as factors where the members are."""

    @abstractmethod
    def combinations(self, weights: Tensor) -> Tensor:
        """(m·n, k): the columns vec Σ_i w_ij ΔW_i for w (N, k)."""

    @abstractmethod
    def products(self, vectors: Tensor) -> Tensor:
        """(N, k): ⟨ΔW_i, Y_j⟩ for columns vec Y_j, (m·n, k)."""

    @abstractmethod
    def overlap(self, other: Stack) -> Tensor:
        """(N, N'): ⟨ΔW_i, ΔW'_j⟩ with the changes of another collection."""

    @abstractmethod
    def mode_gram(self, side: Side) -> tuple[Tensor, Tensor]:
        """A matrix X with X Xᵀ = Σ_i ΔW_iΔW_iᵀ ("left"; ΔW_iᵀΔW_i for "right"), and XᵀX.

        X is the unfolding of the stack along one mode, with directions that no member has left out.
        """

    @abstractmethod
    def energies(self, basis: Tensor, side: Side) -> Tensor:
        """(N, k): ‖q_jᵀΔW_i‖² ("left"; ‖ΔW_i q_j‖² for "right") for every column q_j of a basis."""

    @abstractmethod
    def cores(self, U: Tensor, V: Tensor) -> Tensor:
        """(N, p, q): UᵀΔW_iV for U (m, p), V (n, q)."""


def stacked(changes: Sequence[Change]) -> Stack:
    """The stack of the given changes, factored when every one is."""
    if all(isinstance(change, LowRank) for change in changes):
        return Factored.of(changes)  # type: ignore[arg-type]
    return Dense(torch.stack([x.to_dense() if isinstance(x, LowRank) else x for x in changes]))


@dataclass(frozen=True, eq=False)
class Factored(Stack):
    """ΔW_i = L_i R_i with the L_i side by side in (m, ρ) and the R_i below each other in (ρ, n), ρ = Σ ranks."""

    left: Tensor
    right: Tensor
    ranks: tuple[int, ...]

    @classmethod
    def of(cls, changes: Sequence[LowRank]) -> Factored:
        left = torch.cat([change.left for change in changes], dim=1)
        right = torch.cat([change.right for change in changes])
        return cls(left, right, tuple(change.left.shape[1] for change in changes))

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0], self.right.shape[1]

    @property
    def size(self) -> int:
        return len(self.ranks)

    @cached_property
    def owner(self) -> Tensor:
        """(ρ,): the member that a column of `left` belongs to."""
        return torch.repeat_interleave(torch.arange(self.size), torch.tensor(self.ranks))

    @cached_property
    def left_gram(self) -> Tensor:
        """(ρ, ρ): LᵀL."""
        return _gram(self.left)

    @cached_property
    def right_gram(self) -> Tensor:
        """(ρ, ρ): R Rᵀ."""
        return _gram(self.right.T)

    def gram(self) -> Tensor:
        # ⟨L_iR_i, L_jR_j⟩ = tr((L_iᵀL_j)(R_jR_iᵀ)): the sum of a block of LᵀL ∘ RRᵀ
        return self._block_sums((self.left_gram * self.right_gram).double(), self)

    def overlap(self, other: Stack) -> Tensor:
        if not isinstance(other, Factored):
            return other.overlap(self).T
        return self._block_sums(((self.left.T @ other.left) * (self.right @ other.right.T)).double(), other)

    def _block_sums(self, product: Tensor, other: Factored) -> Tensor:
        rows = product.new_zeros(self.size, product.shape[1]).index_add_(0, self.owner, product)
        return product.new_zeros(self.size, other.size).index_add_(1, other.owner, rows)

    def mixture(self, weights: Tensor) -> LowRank:
        return LowRank(self.left * weights[self.owner], self.right)

    def combinations(self, weights: Tensor) -> Tensor:
        return torch.stack([((self.left * w[self.owner]) @ self.right).reshape(-1) for w in weights.T], dim=1)

    def products(self, vectors: Tensor) -> Tensor:
        # ⟨L_iR_i, Y⟩ = Σ over the member's columns a of (LᵀY Rᵀ)_aa
        diagonals = torch.stack(
            [((self.left.T @ y.reshape(self.shape)) * self.right).sum(dim=1) for y in vectors.T], dim=1
        )
        return vectors.new_zeros(self.size, vectors.shape[1]).index_add_(0, self.owner, diagonals)

    def mode_gram(self, side: Side) -> tuple[Tensor, Tensor]:
        left = side == "left"
        factor, inner = (self.left, self.left_gram) if left else (self.right.T, self.right_gram)
        # ΔW_iΔW_iᵀ = L_i (R_iR_iᵀ) L_iᵀ = X_iX_iᵀ with X_i = L_i (R_iR_iᵀ)^½, whatever factors L_i and R_i were chosen
        roots = self._block_roots(self.right_gram if left else self.left_gram)
        rows = torch.cat([root @ part for root, part in zip(roots, inner.split(self.ranks), strict=True)])
        return self._columns_times(factor, roots), self._columns_times(rows, roots)

    def energies(self, basis: Tensor, side: Side) -> Tensor:
        squares = (basis.T @ self.mode_gram(side)[0]).square()
        return squares.new_zeros(basis.shape[1], self.size).index_add_(1, self.owner, squares).T

    def _columns_times(self, X: Tensor, blocks: list[Tensor]) -> Tensor:
        """X times a block-diagonal matrix with one block per member."""
        return torch.cat([part @ block for part, block in zip(X.split(self.ranks, dim=1), blocks, strict=True)], dim=1)

    def _block_roots(self, gram: Tensor) -> list[Tensor]:
        """Symmetric square roots of the members' diagonal blocks."""
        roots, start = [], 0
        for rank in self.ranks:
            values, vectors = torch.linalg.eigh(gram[start : start + rank, start : start + rank])
            roots.append(vectors * values.clamp(min=0).sqrt() @ vectors.T)
            start += rank
        return roots

    def cores(self, U: Tensor, V: Tensor) -> Tensor:
        left, right = (U.T @ self.left).split(self.ranks, dim=1), (self.right @ V).split(self.ranks)
        return torch.stack([L @ R for L, R in zip(left, right, strict=True)])


@dataclass(frozen=True, eq=False)
class Dense(Stack):
    """ΔW_i as dense matrices, (N, m, n)."""

    values: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[1], self.values.shape[2]

    @property
    def size(self) -> int:
        return self.values.shape[0]

    def gram(self) -> Tensor:
        return _gram(self.values.reshape(self.size, -1).T).double()

    def overlap(self, other: Stack) -> Tensor:
        return other.products(self.values.reshape(self.size, -1).T).T

    def mixture(self, weights: Tensor) -> Tensor:
        return torch.tensordot(weights, self.values, dims=1)

    def combinations(self, weights: Tensor) -> Tensor:
        return self.values.reshape(self.size, -1).T @ weights

    def products(self, vectors: Tensor) -> Tensor:
        return self.values.reshape(self.size, -1) @ vectors

    def mode_gram(self, side: Side) -> tuple[Tensor, Tensor]:
        values = self.values if side == "left" else self.values.mT
        X = values.transpose(0, 1).reshape(values.shape[1], -1)
        if X.shape[1] <= X.shape[0]:
            return X, X.T @ X
        # wider than tall: its left factor X = QR of Xᵀ is as good, and square
        R = torch.linalg.qr(X.T, mode="r").R
        return R.T, R @ R.T

    def energies(self, basis: Tensor, side: Side) -> Tensor:
        values = self.values if side == "left" else self.values.mT
        return (basis.T @ values).square().sum(dim=2)

    def cores(self, U: Tensor, V: Tensor) -> Tensor:
        return U.T @ self.values @ V


def _gram(X: Tensor) -> Tensor:
    """XᵀX; numpy sees one matrix on both sides and computes one triangle only."""
    array = X.numpy()
    return torch.from_numpy(np.matmul(array.T, array))
