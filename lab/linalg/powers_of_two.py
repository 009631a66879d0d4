"""Scaling by powers of two: exact, so that squares and sums of extreme numbers neither overflow nor vanish."""

from __future__ import annotations

from math import frexp, isfinite
from typing import overload

import torch
from torch import Tensor


def exponent(x: Tensor) -> int:
    """e with max|x| in [2^(e−1), 2^e); 0 for a zero, empty or non-finite tensor."""
    largest = float(x.abs().max()) if x.numel() else 0.0
    return frexp(largest)[1] if isfinite(largest) else 0


@overload
def scaled(x: Tensor, e: int) -> Tensor: ...
@overload
def scaled(x: float, e: int) -> float: ...
def scaled(x: Tensor | float, e: int) -> Tensor | float:
    """2^e·x, exact but for overflow (to ±inf) and underflow of the result itself.

    Example:
        >>> x = torch.tensor([3e-30])
        >>> bool(scaled(scaled(x, 90), -90) == x)
        True
    """
    single = isinstance(x, Tensor) and torch.finfo(x.dtype).max < 1e39
    limit = 120 if single else 1000  # 2^e itself must be a number of the dtype
    while e:
        step = max(-limit, min(limit, e))
        x, e = x * 2.0**step, e - step
    return x
