"""Quantiles of the distributions that intervals are made of.

scipy.special is imported where it is first used: importing it costs more than reading a store of records.
"""

from __future__ import annotations

from functools import cache

from lab.deferred import numpy as np


def normal(p: float) -> float:
    """Of the standard normal."""
    from scipy.special import ndtri

    return float(ndtri(p))


def student_t(p: float, freedom: float) -> float:
    """Of Student's t with `freedom` > 0 degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, p))


def beta(p: float, a: float, b: float) -> float:
    """Of the beta distribution with parameters a, b > 0."""
    from scipy.special import betaincinv

    return float(betaincinv(a, b, p))


@cache
def studentized_range(p: float, k: int) -> float:
    """Of the range of k ≥ 2 standard normals: P(range ≤ q) = k ∫ φ(z) (Φ(z) − Φ(z − q))^{k−1} dz.

    The studentised range with infinitely many degrees of freedom (Tukey 1949). The integral is the trapezoidal rule on
    a grid where it converges faster than any power of the step, the root is found by bisection.
    """
    from scipy.special import ndtr

    z = np.linspace(-9, 9, 1001)
    weight = k * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    low, high = 0.0, 20.0
    while high - low > 1e-12:
        q = (low + high) / 2
        low, high = (q, high) if weight @ (ndtr(z) - ndtr(z - q)) ** (k - 1) < p else (low, q)
    return high


def chi_squared_tail(x: float, freedom: float) -> float:
    """P(χ² > x) with `freedom` > 0 degrees of freedom."""
    from scipy.special import chdtrc

    return float(chdtrc(freedom, x))
