"""Coordinates written with few levels, and how many bits that takes."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

import torch
from torch import Tensor

LEVEL_BITS = 16
"""Of each level in the codebook: half precision."""


@dataclass(frozen=True, eq=False)
class Quantised:
    """Coordinates as a codebook and an index per coordinate.

    Attributes:
        codes: (d,) index of each coordinate's level.
        levels: (L,) values that are used, ascending, exact in half precision, in the dtype of the coordinates.
    """

    codes: Tensor
    levels: Tensor

    @property
    def values(self) -> Tensor:
        """(d,) what is decoded."""
        return self.levels[self.codes]

    @property
    def counts(self) -> Tensor:
        """(L,) how often each level occurs."""
        return torch.bincount(self.codes, minlength=len(self.levels))

    @property
    def entropy(self) -> float:
        """H(p) of the levels' frequencies [bits per coordinate]."""
        p = self.counts.double() / len(self.codes)
        return float(-(p * p.log2()).nan_to_num().sum()) if len(self.levels) > 1 else 0.0

    @property
    def bits(self) -> int:
        """K = ⌈d·H(p)⌉ + 1 + 16 L + L⌈log₂ d⌉: arithmetic code, codebook, and the counts the code is made from.

        Lotfi et al. 2022, section 4.2. One level needs no code for its coordinates, but its value is written.
        """
        d, n_levels = len(self.codes), len(self.levels)
        return ceil(d * self.entropy) + 1 + n_levels * (LEVEL_BITS + ceil(log2(d)))


def quantised(x: Tensor, n_levels: int, *, iterations: int = 50) -> Quantised:
    """Coordinates moved to the nearest of L levels that are placed by Lloyd's algorithm (k-means in one dimension).

    Starts from the quantiles and ends where no coordinate moves; each iteration lowers Σ (x − level)² or leaves it.
    Levels are rounded to half precision, those that coincide or are empty are dropped.

    Args:
        x: (d,) coordinates.
        n_levels: L, at most.
        iterations: most of them. Default 50; a thousand coordinates settle within twenty.

    Raises:
        ValueError: no coordinate, one that is not finite or beyond half precision, or no level.
    """
    if x.ndim != 1 or len(x) == 0 or n_levels < 1:
        raise ValueError(f"expected a vector and one level or more; got shape {tuple(x.shape)} and {n_levels} levels.")
    if not bool(torch.isfinite(x.half()).all()):
        raise ValueError(f"coordinates must be finite in half precision; the largest is {float(x.abs().max()):.3g}.")
    exact = x.detach().double()
    levels = torch.quantile(exact, (torch.arange(n_levels, dtype=torch.float64, device=x.device) + 0.5) / n_levels)
    for _ in range(iterations):
        levels = levels.unique()
        codes = _nearest(exact, levels)
        counts = torch.bincount(codes, minlength=len(levels))
        sums = torch.zeros_like(levels).index_add_(0, codes, exact)
        moved = torch.where(counts > 0, sums / counts.clamp(min=1), levels)
        if torch.equal(moved, levels):
            break
        levels = moved
    levels = levels.half().double().unique()
    codes = _nearest(exact, levels)
    used, codes = torch.unique(codes, return_inverse=True)
    return Quantised(codes, levels[used].to(x.dtype))


def _nearest(x: Tensor, levels: Tensor) -> Tensor:
    """Index of the nearest of ascending levels."""
    edges = (levels[1:] + levels[:-1]) / 2
    return torch.bucketize(x, edges)
