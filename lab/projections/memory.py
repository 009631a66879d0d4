"""Uninitialised results of the CPU kernels, in huge pages where the system grants them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

LINE = 64  # bytes of a cache line: vectors that cross lines cost double


def empty_like_rows(rows: int, length: int, like: Tensor) -> Tensor:
    """A CPU tensor (rows, length) of like's dtype, allocated by numpy, its first row at the start of a cache line.

    numpy asks the kernel for 2 MiB pages where an array is long; torch does not, and then spends more time on the page
    faults of a fresh result of 90 MB (about 20 ms) than a projection on computing it.
    """
    spare = LINE // like.itemsize
    whole = np.empty(rows * length + spare, dtype=_NUMPY[like.dtype])
    start = -whole.ctypes.data % LINE // like.itemsize
    return torch.from_numpy(whole[start : start + rows * length].reshape(rows, length))


_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
