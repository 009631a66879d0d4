"""Random numbers by counting: number i of stream s under seed k is a pure function of (k, s, i).

Nothing is stored, any part can be drawn alone, in any order and any chunking, and the same bits come out on every
device: a word is two wrapping 64-bit multiplications (splitmix64: Steele, Lea & Flood 2014, "Fast splittable
pseudorandom number generators", OOPSLA), which torch, numba and Triton all compute exactly. This file is the
torch form; `kernels` holds the numba form, `fastfood_triton` the Triton one.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from lab.projections.kernels import ROUNDS

_MASK = (1 << 64) - 1
_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class Stream(IntEnum):
    """What a stream is for; each purpose has its own, so that no two draws of one map share bits."""

    SIGNS = 1
    GAUSSIANS = 2
    PERMUTATION = 3
    POSITIONS = 4
    PARTS = 5


def stream_key(seed: int, stream: int) -> int:
    """The key (64 bits) of a stream of a seed: two words of splitmix64, so that near seeds have unrelated keys."""
    return _word(_word(seed & _MASK, 0), int(stream))


def _word(key: int, index: int) -> int:
    z = (key + index * _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
    return z ^ (z >> 31)


def _wrapped(value: int) -> int:
    """The int64 with the same bits."""
    return value - (1 << 64) if value >> 63 else value


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; torch's own copies the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def words(key: int, index: Tensor) -> Tensor:
    """The 64-bit words with these indices (int64), as int64 with the same bits."""
    z = _wrapped(key) + index * _wrapped(_GOLDEN)
    z = (z ^ _shifted(z, 30)) * _wrapped(_MIX_1)
    z = (z ^ _shifted(z, 27)) * _wrapped(_MIX_2)
    return z ^ _shifted(z, 31)


def signs(key: int, index: Tensor, dtype: torch.dtype) -> Tensor:
    """±1: minus where bit index mod 64 of word index // 64 is set."""
    bit = (words(key, index >> 6) >> (index & 63)) & 1
    return (1 - 2 * bit).to(dtype)


@cache
def gaussian_table() -> np.ndarray:
    """The 65,536 values a Gaussian can take (float32): z_i = Φ⁻¹((i + ½)/65536), scaled to variance 1.

    In float64 by scipy's `ndtri`, then rounded once, so every device multiplies the same numbers. The mean is 0 by
    symmetry; the largest is 4.17. Entry i and entry 65535 - i are opposite.
    """
    positive = ndtri(0.5 + (np.arange(32768) + 0.5) / 65536)
    positive /= np.sqrt(np.mean(positive**2))
    return np.concatenate([-positive[::-1], positive]).astype(np.float32)


@cache
def gaussian_table_on(device: torch.device) -> Tensor:
    """The same table as a tensor on a device; kept, as it is one per device."""
    return torch.from_numpy(gaussian_table()).to(device)


def gaussians(key: int, index: Tensor, dtype: torch.dtype) -> Tensor:
    """Standard Gaussians: 16 bits of word index // 4 pick one of 65,536 equally likely quantiles."""
    pick = (words(key, index >> 2) >> (16 * (index & 3))) & 0xFFFF
    return gaussian_table_on(index.device)[pick].to(dtype)


def permute(key: int, number: Tensor | int, index: Tensor, log2_size: int) -> Tensor:
    """Π(index) for permutation `number` of 2^log2_size ≤ 2^31 numbers, computed without a table.

    Six rounds of x ← a x + c mod 2^k (a odd), x ← x xor (x >> ⌈k/2⌉), each with its own a and c: multiplication moves
    low bits up, the shift moves high bits down, and each step is invertible. Affine maps alone (one round without the
    shift) keep differences, Π(i + 1) - Π(i) = a: visible in the projection. Tests compare pairs of images with those of
    a uniform permutation.

    Args:
        key: of the stream PERMUTATION.
        number: which permutation; an int64 tensor that broadcasts with `index`, or an int.
        index: int64, in [0, 2^log2_size).
        log2_size: k.
    """
    number = torch.as_tensor(number, dtype=torch.int64, device=index.device)
    half, mask = (log2_size + 1) // 2, (1 << log2_size) - 1
    x = index
    for r in range(ROUNDS):
        a = words(key, 2 * ROUNDS * number + 2 * r) & 0xFFFFFFFF | 1
        c = words(key, 2 * ROUNDS * number + 2 * r + 1) & 0xFFFFFFFF
        x = ((a & mask) * x + c) & mask
        x = x ^ (x >> half)
    return x
