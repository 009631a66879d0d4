"""The dense Gaussian projection, drawn again at every product and never stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lab.projections import counter, kernels
from lab.projections.projection import Projection
from lab.projections.threads import limited_threads, one_thread

CHUNK = 1 << 20  # numbers drawn at a time: 4 MiB in float32, inside the level-3 cache
SMALLEST_CHUNK = 1 << 16  # below this, many short products cost more than their memory saves


@dataclass(frozen=True)
class Gaussian(Projection):
    """P_ij ~ N(0, 1/D), independent: the dense random projection of Li et al. 2018, of which Fastfood is the
    fast form.

    Rows are drawn in chunks of at most D numbers (or 65,536, where D is less), so memory stays below 2 D whatever d.

    Cost: D·d draws and as many multiplications per product: for reference and for small D. D = 10⁶, d = 100 takes about
    a tenth of a second a product on two cores.

    Example:
        >>> P = Gaussian(2000, 10)
        >>> abs(float((P @ torch.ones(10)).square().sum() / 10) - 1) < 0.2
        True
    """

    name: ClassVar[str] = "gaussian"
    shown: ClassVar[str] = "Gaussian"

    def _product(self, X: Tensor) -> Tensor:
        Y = X.new_empty(self.D, X.shape[1])
        padded = torch.nn.functional.pad(X, (0, 0, 0, self._width - self.d)) / sqrt(self.D)
        for first, rows in self._chunks(X):
            Y[first : first + len(rows)] = rows @ padded
        return Y

    def _adjoint_product(self, Y: Tensor) -> Tensor:
        X = Y.new_zeros(self._width, Y.shape[1])
        for first, rows in self._chunks(Y):
            with one_thread():  # drawing the rows takes most of the time
                X += rows.T @ Y[first : first + len(rows)]
        return X[: self.d] / sqrt(self.D)

    @property
    def _width(self) -> int:
        """d rounded up, so that columns beside those of P are drawn instead of cut off: that would be a copy."""
        return words_of(self.d)

    def _chunks(self, like: Tensor) -> Iterator[tuple[int, Tensor]]:
        """(first row, rows (c, width)), in order."""
        key = counter.stream_key(self.seed, counter.Stream.GAUSSIANS)
        step = max(1, min(CHUNK, max(self.D, SMALLEST_CHUNK)) // self._width)
        for first in range(0, self.D, step):
            yield first, gaussian_rows(key, first, min(step, self.D - first), self._width, like)


def gaussian_rows(key: int, first: int, count: int, width: int, like: Tensor) -> Tensor:
    """Rows first, first + 1, … of a matrix of standard Gaussians, (count, width), with the dtype and device of `like`.

    Entry (i, j) is Gaussian number i·w + j of the stream with this key, w = width rounded up to whole words of four.
    """
    whole = words_of(width)
    if like.device.type == "cpu":
        rows = like.new_empty(count, whole)
        words = np.empty((count, whole // 4), np.uint64)
        with limited_threads():
            kernels.gaussian_rows(rows.numpy(), words, np.uint64(key), first, counter.gaussian_table())
    else:
        index = torch.arange(first * whole, (first + count) * whole, device=like.device)
        rows = counter.gaussians(key, index, like.dtype).reshape(count, whole)
    return rows[:, :width]


def words_of(width: int) -> int:
    """width rounded up to whole words of four Gaussians."""
    return -(-width // 4) * 4
