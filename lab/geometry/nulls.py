"""What the spectrum of a weight difference would be if its directions were random: same shape, rank and norm."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray

from lab.linalg import (
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
    tail = (1 - confidence) / 2
    norm = spectrum.frobenius_norm
    if not len(spectrum.values):
        empty = np.zeros(0)
        return SpectrumNull("gaussian product" if factor_rank else "marchenko-pastur", empty, empty, empty, nan)
    if factor_rank is None:
        std = norm / sqrt(m * n)
        expected = gaussian_singular_values(m, n, std)
        low, high = expected.copy(), expected.copy()
        low[0] = largest_gaussian_singular_value(m, n, std, probability=tail)
        high[0] = largest_gaussian_singular_value(m, n, std, probability=1 - tail)
        return SpectrumNull("marchenko-pastur", expected, low, high, float(high[0]))
    k = len(spectrum.values)
    samples = product_samples(m, n, k, n_samples=n_samples, generator=seed)
    # each draw is scaled to the norm, so the null is about the shape of the spectrum alone
    samples = samples * (norm / np.sqrt((samples**2).sum(axis=1, keepdims=True)))
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
    return SpectrumNull("gaussian product", samples.mean(axis=0), low, high, float(high[0]))
