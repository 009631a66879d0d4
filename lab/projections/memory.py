"""Uninitialised results of the CPU kernels, in huge pages where the system grants them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def empty_like_rows(rows: int, length: int, like: Tensor) -> Tensor:
    """A CPU tensor (rows, length) of like's dtype, allocated by numpy.

    numpy asks the kernel for 2 MiB pages where an array is long; torch does not, and then spends more time on the page
    faults of a fresh result of 90 MB (about 20 ms) than a projection on computing it.
    """
    return torch.from_numpy(np.empty((rows, length), dtype=_NUMPY[like.dtype]))


_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
