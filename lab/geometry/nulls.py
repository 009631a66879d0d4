"""What the spectrum of a weight difference would be if its directions were random: same shape, rank and norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import nan, sqrt

import numpy as np
import torch
from numpy.typing import NDArray

from lab.linalg import (
    LowRank,
    Spectrum,
    gaussian_samples,
    gaussian_singular_values,
    largest_gaussian_singular_value,
    power_law_tail,
    product_samples,
)

Array = NDArray[np.float64]

NULL_SCALARS = (
    "stable_rank", "effective_rank", "participation_ratio", "energy_rank_90", "tail_exponent", "tail_distance",
)  # fmt: skip
"""Scalars of a spectrum that its null has too."""

_NARROW = 20  # below so many rows or columns, limits of random matrix theory are replaced by samples


@dataclass(frozen=True, eq=False)
class SpectrumNull:
    """A null for the singular values of one matrix.

    Attributes:
        law: "marchenko-pastur" or "gaussian product".
        expected: (k,) decreasing.
        low, high: (k,) pointwise band; for Marchenko–Pastur it is the expectation itself but for the largest value,
            since inside the bulk values fluctuate by O(1/n) only.
        n_above, edge: of `above_null`.
        scalars: those of `NULL_SCALARS`, of the null itself; medians where it is sampled.
    """

    law: str
    expected: Array
    low: Array
    high: Array
    n_above: int
    edge: float
    scalars: Mapping[str, float]


def spectrum_null(
    spectrum: Spectrum,
    factor_rank: int | None,
    *,
    floor: float = 0.0,
    confidence: float = 0.95,
    n_samples: int = 200,
    seed: int = 0,
) -> SpectrumNull:
    """The null of a spectrum: independent Gaussian entries, scaled to the observed Frobenius norm.

    A dense matrix is compared with Marchenko–Pastur, its largest value with the Tracy–Widom edge; below 20 rows or
    columns, where these limits fail (the one value of a column is its norm), with samples. A product of rank r has
    another law: B A with Gaussian B and A, sampled exactly at O(r³) a draw.

    Args:
        spectrum: the observed values.
        factor_rank: r of the factors; None for a dense matrix.
        floor: of `above_null`.
        confidence: of the band.
        n_samples: draws where the null is sampled.
        seed: of these draws.
    """
    m, n = spectrum.shape
    k, tail = len(spectrum.values), (1 - confidence) / 2
    law = "marchenko-pastur" if factor_rank is None else "gaussian product"
    if k == 0:
        empty = np.zeros(0)
        return SpectrumNull(law, empty, empty, empty, 0, nan, dict.fromkeys(NULL_SCALARS, nan))
    rank = None if factor_rank is None else k
    expected, low, high = (spectrum.frobenius_norm * row for row in _band(m, n, rank, tail, n_samples, seed))
    count, edge = above_null(spectrum, factor_rank, floor=floor, confidence=confidence, n_samples=n_samples, seed=seed)
    return SpectrumNull(law, expected, low, high, count, edge, _scalars(m, n, rank, n_samples, seed))


def above_null(
    spectrum: Spectrum,
    factor_rank: int | None = None,
    *,
    floor: float = 0.0,
    confidence: float = 0.95,
    n_samples: int = 200,
    seed: int = 0,
) -> tuple[int, float]:
    """How many singular values stand above chance, and the line they stand above.

    One after the other, so that strong directions do not hide weaker ones: σ_i is compared with the edge of noise of
    shape (m − i + 1, n − i + 1), for a product of rank r − i + 1, that has the norm (Σ_{j ≥ i} σ_j²)^½ of what the
    values before it leave. The count ends at the first value inside; the line is the edge there.

    Args:
        spectrum: the observed values; all min(m, n) of a dense matrix.
        factor_rank: r of the factors; None for a dense matrix.
        floor: no value up to it counts: rounding.
        confidence: noise exceeds each edge with probability (1 − confidence)/2.
        n_samples: draws where the null is sampled.
        seed: of these draws.

    Returns:
        (count, line); (0, nan) without values.
    """
    (m, n), k, tail = spectrum.shape, len(spectrum.values), (1 - confidence) / 2
    if k == 0:
        return 0, nan
    left = [spectrum.spectral_norm * float(torch.linalg.vector_norm(rest)) for rest in _tails(spectrum)]

    def edge(i: int) -> float:
        rank = None if factor_rank is None else k - i
        return max(left[i] * _edge(m - i, n - i, rank, tail, n_samples, seed), floor)

    # the last value is all that is left and equals its edge, up to rounding: the search ends there at the latest
    count = next(i for i in range(k) if float(spectrum.values[i]) <= edge(i) * (1 + 1e-12))
    return count, edge(count)


def _tails(spectrum: Spectrum) -> list[torch.Tensor]:
    """σ_i/σ_1, σ_{i+1}/σ_1, … for every i: squares of them neither overflow nor underflow where it matters."""
    relative = spectrum.values / (spectrum.spectral_norm or 1.0)
    return [relative[i:] for i in range(len(relative))]


def randomly_turned(spectrum: Spectrum, *, seed: int = 0) -> LowRank:
    """An update with the same singular values and uniformly random singular vectors: the null of directions.

    Args:
        spectrum: of ΔW; its vectors, if any, are not used.
        seed: of the two Haar-distributed bases.
    """
    (m, n), k = spectrum.shape, len(spectrum.values)
    generator = torch.Generator().manual_seed(seed)
    U, V = (torch.linalg.qr(torch.randn(d, k, generator=generator, dtype=torch.float64))[0] for d in (m, n))
    return LowRank(U * spectrum.values, V.T)


# Nulls depend on the shape alone, and the matrices of a model have few shapes. `rank` is that of a product, or None.


@lru_cache(maxsize=256)
def _draws(m: int, n: int, rank: int | None, n_samples: int, seed: int) -> Array:
    """(draws, k) singular values; each draw has norm 1, so the null is about the shape of the spectrum alone."""
    if rank is not None:
        samples = product_samples(m, n, rank, n_samples=n_samples, generator=seed)
    elif min(m, n) < _NARROW:
        samples = gaussian_samples(m, n, n_samples=n_samples, generator=seed)
    else:
        samples = gaussian_singular_values(m, n)[None]
    return samples / np.linalg.norm(samples, axis=1, keepdims=True)


@lru_cache(maxsize=4096)
def _edge(m: int, n: int, rank: int | None, tail: float, n_samples: int, seed: int) -> float:
    """What the largest value exceeds with probability `tail`, at ‖·‖_F = 1."""
    if rank is None and min(m, n) >= _NARROW:
        return largest_gaussian_singular_value(m, n, 1 / sqrt(m * n), probability=1 - tail)
    return float(np.quantile(_draws(m, n, rank, n_samples, seed)[:, 0], 1 - tail))


@lru_cache(maxsize=128)
def _band(m: int, n: int, rank: int | None, tail: float, n_samples: int, seed: int) -> Array:
    """Expectation, low and high, (3, k), at ‖·‖_F = 1."""
    draws = _draws(m, n, rank, n_samples, seed)
    band = np.stack([draws.mean(axis=0), *np.quantile(draws, [tail, 1 - tail], axis=0)])
    if len(draws) == 1:
        band[1, 0], band[2, 0] = (_edge(m, n, rank, t, n_samples, seed) for t in (1 - tail, tail))
    return band


@lru_cache(maxsize=128)
def _scalars(m: int, n: int, rank: int | None, n_samples: int, seed: int) -> Mapping[str, float]:
    found = []
    for values in _draws(m, n, rank, n_samples, seed):
        null, tail = Spectrum(torch.from_numpy(values), (m, n)), power_law_tail(values**2)
        found.append(
            (
                null.stable_rank,
                null.effective_rank,
                null.participation_ratio,
                null.energy_rank(0.9),
                tail.alpha if tail else nan,
                tail.distance if tail else nan,
            )
        )
    return dict(zip(NULL_SCALARS, np.median(found, axis=0).tolist(), strict=True))
