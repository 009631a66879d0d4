"""The very sparse random projection: √D non-zeros a column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, sqrt
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lab.projections import counter, kernels
from lab.projections.memory import empty_like_rows
from lab.projections.projection import Projection
from lab.projections.threads import limited_threads

CHUNK = 1 << 18  # non-zeros drawn at a time by the torch path


@dataclass(frozen=True)
class Sparse(Projection):
    """P_ij = ±1/√m at m = ⌈density·D⌉ places of each column, 0 elsewhere.

    Very sparse random projections (Li, Hastie & Church 2006, "Very sparse random projections", KDD), as Li et
    al. 2018 use them where a dense P is too large. There each entry is non-zero with probability `density`;
    here the rows are cut into m strata and each column has one non-zero at a uniform place of each, so that columns
    have norm 1 exactly, and a stratum of rows is made by one thread without locks.

    Where D is no multiple of m, strata differ by one row, and so do rows in their share of ‖Px‖²:
    by 1/√D at the default.

    Cost: d·m draws and additions (density·D·d). State: none.

    Attributes:
        density: share of non-zeros, in (0, 1]; None: 1/√D (the paper's choice).

    Raises:
        ValueError: for a density outside (0, 1].
    """

    density: float | None = None

    name: ClassVar[str] = "sparse"

    def __post_init__(self):
        super().__post_init__()
        if self.density is not None and not 0 < self.density <= 1:
            raise ValueError(f"density must lie in (0, 1], or be None for 1/sqrt(D); got {self.density!r}.")

    @property
    def nonzeros(self) -> int:
        """m, the non-zeros of a column."""
        return ceil(sqrt(self.D)) if self.density is None else ceil(self.density * self.D)

    def _product(self, X: Tensor) -> Tensor:
        scaled = X / sqrt(self.nonzeros)
        return self._spread_by_kernel(scaled) if X.device.type == "cpu" else self._spread_by_torch(scaled)

    def _adjoint_product(self, Y: Tensor) -> Tensor:
        X = self._collect_by_kernel(Y) if Y.device.type == "cpu" else self._collect_by_torch(Y)
        return X / sqrt(self.nonzeros)

    def _spread_by_kernel(self, X: Tensor) -> Tensor:
        Y = empty_like_rows(X.shape[1], self.D, X)
        with limited_threads():
            kernels.sparse_products(X.T.contiguous().numpy(), Y.numpy(), self.nonzeros, self._key())
        return Y.T

    def _collect_by_kernel(self, Y: Tensor) -> Tensor:
        sums = Y.new_empty(max(1, min(kernels.PARTS, self.D // self.d)), Y.shape[1], self.d)
        with limited_threads():
            kernels.sparse_adjoint(Y.T.contiguous().numpy(), sums.numpy(), self.nonzeros, self._key())
        return sums.sum(0).T

    def _spread_by_torch(self, X: Tensor) -> Tensor:
        Y = X.new_zeros(self.D, X.shape[1])
        for places, signs in self._chunks(X):
            Y.index_add_(0, places.reshape(-1), (signs[..., None] * X).reshape(-1, X.shape[1]))
        return Y

    def _collect_by_torch(self, Y: Tensor) -> Tensor:
        X = Y.new_zeros(self.d, Y.shape[1])
        for places, signs in self._chunks(Y):
            X += (signs[..., None] * Y[places]).sum(0)
        return X

    def _key(self) -> np.uint64:
        return np.uint64(counter.stream_key(self.seed, counter.Stream.POSITIONS))

    def _chunks(self, like: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(places, signs), each (strata, d)."""
        m, step = self.nonzeros, max(1, CHUNK // self.d)
        columns = torch.arange(self.d, device=like.device)
        for first in range(0, m, step):
            stratum = torch.arange(first, min(first + step, m), device=like.device)[:, None]
            begin, end = stratum * self.D // m, (stratum + 1) * self.D // m
            w = counter.words(int(self._key()), stratum * self.d + columns)
            places = begin + (((w >> 33) & 0x7FFFFFFF) * (end - begin) >> 31)
            yield places, (1 - 2 * (w & 1)).to(like.dtype)
