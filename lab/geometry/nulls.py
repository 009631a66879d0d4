"""What the spectrum of a weight difference would be if its directions were random: same shape, rank and norm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import nan, sqrt

import numpy as np
import torch
from numpy.typing import NDArray

from lab.linalg import (
    LowRank,
    Spectrum,
    gaussian_singular_values,
    largest_gaussian_singular_value,
    product_samples,
)

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SpectrumNull:
    """A null for the singular values of one matrix.

    Attributes:
        law: "marchenko-pastur" or "gaussian product".
        expected: (k,) decreasing.
        low, high: (k,) pointwise band; for Marchenko–Pastur it is the expectation itself but for the largest value,
            since inside the bulk values fluctuate by O(1/n) only.
        edge: what the largest value exceeds with probability (1 − confidence)/2.
    """

    law: str
    expected: Array
    low: Array
    high: Array
    edge: float


def spectrum_null(
    spectrum: Spectrum, factor_rank: int | None, *, confidence: float = 0.95, n_samples: int = 200, seed: int = 0
) -> SpectrumNull:
    """The null of a spectrum: independent Gaussian entries, scaled to the observed Frobenius norm.

    A dense matrix is compared with Marchenko–Pastur, its largest value with the Tracy–Widom edge. A product of rank r
    is not: B A with Gaussian B and A has r values of another law, sampled exactly at O(r³) a draw.

    Args:
        spectrum: the observed values.
        factor_rank: r of the factors; None for a dense matrix.
        confidence: of the band.
        n_samples: draws for a product.
        seed: of these draws.
    """
    m, n = spectrum.shape
    k, tail = len(spectrum.values), (1 - confidence) / 2
    law = "marchenko-pastur" if factor_rank is None else "gaussian product"
    if k == 0:
        empty = np.zeros(0)
        return SpectrumNull(law, empty, empty, empty, nan)
    unit = _dense(m, n, tail) if factor_rank is None else _product(m, n, k, tail, n_samples, seed)
    expected, low, high = (spectrum.frobenius_norm * row for row in unit)
    return SpectrumNull(law, expected, low, high, float(high[0]))


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


# Nulls depend on the shape alone, and the matrices of a model have few shapes.


@lru_cache(maxsize=128)
def _dense(m: int, n: int, tail: float) -> Array:
    """Expectation, low and high, (3, min(m, n)), at ‖·‖_F = 1."""
    std = 1 / sqrt(m * n)
    null = np.tile(gaussian_singular_values(m, n, std), (3, 1))
    null[1, 0] = largest_gaussian_singular_value(m, n, std, probability=tail)
    null[2, 0] = largest_gaussian_singular_value(m, n, std, probability=1 - tail)
    return null


@lru_cache(maxsize=128)
def _product(m: int, n: int, rank: int, tail: float, n_samples: int, seed: int) -> Array:
    """The same for products; each draw is scaled to norm 1, so the null is about the shape of the spectrum alone."""
    samples = product_samples(m, n, rank, n_samples=n_samples, generator=seed)
    samples = samples / np.linalg.norm(samples, axis=1, keepdims=True)
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
    return np.stack([samples.mean(axis=0), low, high])
