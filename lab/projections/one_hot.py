"""The one-hot projection of Uni-LoRA: each weight moves with one coordinate, and PᵀP = I exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lab.linalg.operator import LinearOperator
from lab.projections import counter, kernels
from lab.projections.memory import empty_like_rows
from lab.projections.one_hot_rows import OneHotRows
from lab.projections.places import Places
from lab.projections.projection import Projection
from lab.projections.threads import limited_threads

CHUNK = 1 << 18  # rows drawn at a time by the torch path
FEW = 64  # stretches; a part of fewer would cost a good share of the whole


@dataclass(frozen=True)
class OneHot(Projection):
    """P_ij = ±1/√n_j if column(i) = j, else 0; n_j = number of rows of column j (Li et al. 2025, "Uni-LoRA", arXiv
    2506.00799).

    Columns are disjoint and of norm 1: PᵀP = I. Each stretch of d consecutive rows meets every column once, in the
    order of a permutation of its own, so n_j is ⌊D/d⌋ or ⌈D/d⌉; Uni-LoRA draws the column of each row independently.

    Cost: O(D), one gather. State: none.

    Attributes:
        signed: random signs. Default True: with all signs + the columns of one matrix share a direction, the all-one
            vector. Uni-LoRA itself has none.
    """

    signed: bool = True

    name: ClassVar[str] = "one_hot"

    def _product(self, X: Tensor) -> Tensor:
        if X.device.type == "cpu":
            return self._spread_by_kernel(X)
        return self._spread_by_torch(X * self._scale(X)[:, None])

    def _adjoint_product(self, Y: Tensor) -> Tensor:
        if Y.device.type == "cpu":
            return self._collect_by_kernel(Y)
        return self._collect_by_torch(Y) * self._scale(Y)[:, None]

    @property
    def has_cheap_rows(self) -> bool:
        return self.d * FEW <= self.D

    def rows(self, places: Places) -> LinearOperator:
        if not self.has_cheap_rows or (isinstance(places, Tensor) and places.device.type != "cpu"):
            return super().rows(places)
        return OneHotRows(self._checked(places), self.d, self.keys, self.signed, self._scaled_rows)

    def _scaled_rows(self, X: Tensor) -> Tensor:
        """X / √n_j for columns X (d, k) on the CPU, as contiguous rows (k, d)."""
        rows = X.T.clone(memory_format=torch.contiguous_format)
        self._scale_rows_(rows)
        return rows

    def _spread_by_kernel(self, X: Tensor) -> Tensor:
        rows = self._scaled_rows(X)
        Y = empty_like_rows(X.shape[1], self.D, X)
        with limited_threads():
            kernels.one_hot_products(rows.numpy(), Y.numpy(), self.keys, self.signed)
        return Y.T

    def _collect_by_kernel(self, Y: Tensor) -> Tensor:
        sums = Y.new_empty(max(1, min(kernels.PARTS, self.D // self.d)), Y.shape[1], self.d)
        with limited_threads():
            kernels.one_hot_adjoint(Y.T.contiguous().numpy(), sums.numpy(), self.keys, self.signed)
        rows = sums.sum(0) if len(sums) > 1 else sums[0]
        self._scale_rows_(rows)
        return rows.T

    def _scale_rows_(self, rows: Tensor) -> None:
        """rows (k, d) ← rows / √n_j: the columns of the last, incomplete stretch occur once more than the others."""
        stretches, rest = divmod(self.D, self.d)
        rows /= sqrt(stretches)
        if rest:
            factor = sqrt(stretches / (stretches + 1))
            kernels.scale_first_columns(rows.numpy(), factor, rest, stretches, self.keys[1])

    def _spread_by_torch(self, X: Tensor) -> Tensor:
        Y = X.new_empty(self.D, X.shape[1])
        for first, columns, signs in self._chunks(X):
            Y[first : first + len(columns)] = signs[:, None] * X[columns]
        return Y

    def _collect_by_torch(self, Y: Tensor) -> Tensor:
        X = Y.new_zeros(self.d, Y.shape[1])
        for first, columns, signs in self._chunks(Y):
            X.index_add_(0, columns, signs[:, None] * Y[first : first + len(columns)])
        return X

    @cached_property
    def keys(self) -> np.ndarray:
        """Keys of the streams of signs and permutations."""
        streams = (counter.Stream.SIGNS, counter.Stream.PERMUTATION)
        return np.array([counter.stream_key(self.seed, stream) for stream in streams], dtype=np.uint64)

    def _scale(self, like: Tensor) -> Tensor:
        """1/√n_j (d,)."""
        stretches, rest = divmod(self.D, self.d)
        counts = torch.full((self.d,), stretches, device=like.device)
        if rest:
            counts[self._columns(torch.tensor([stretches], device=like.device))[0, :rest]] += 1
        return counts.double().rsqrt().to(like.dtype)

    def _columns(self, stretch: Tensor) -> Tensor:
        """Columns of the rows of these stretches (s,), (s, d): the images below d of a permutation of 2^⌈log2 d⌉."""
        log2_size = (self.d - 1).bit_length()
        key = counter.stream_key(self.seed, counter.Stream.PERMUTATION)
        index = torch.arange(1 << log2_size, device=stretch.device)
        images = counter.permute(key, stretch[:, None], index, log2_size)
        return images[images < self.d].reshape(-1, self.d)

    def _chunks(self, like: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(first row, columns, signs), in order."""
        step = max(1, CHUNK // self.d)
        for begin in range(0, -(-self.D // self.d), step):
            stretch = torch.arange(begin, min(begin + step, -(-self.D // self.d)), device=like.device)
            first = begin * self.d
            columns = self._columns(stretch).reshape(-1)[: self.D - first]
            rows = torch.arange(first, first + len(columns), device=like.device)
            key = counter.stream_key(self.seed, counter.Stream.SIGNS)
            signs = counter.signs(key, rows, like.dtype) if self.signed else like.new_ones(len(rows))
            yield first, columns, signs
