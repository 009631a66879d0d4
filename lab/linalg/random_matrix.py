"""Laws of singular values of random matrices: the nulls that stand beside every claim about a spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import pi, sqrt

import numpy as np
import scipy  # its names load their modules on first use
import torch
from numpy.typing import ArrayLike, NDArray

from lab.linalg.draws import Seed, generator_of, require_positive

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MarchenkoPastur:
    """The law of the eigenvalues of X Xᵀ/n as m/n -> q, for X (m, n) with independent centred entries (1967).

    Attributes:
        q: m/n > 0. For q > 1 a mass 1 − 1/q sits at 0.
        variance: of an entry, s² > 0.

    Example:
        >>> law = MarchenkoPastur(0.5)
        >>> [round(edge, 5) for edge in law.edges]
        [0.08579, 2.91421]
    """

    q: float
    variance: float = 1.0

    def __post_init__(self) -> None:
        if not (self.q > 0 and self.variance > 0):
            raise ValueError(f"Marchenko–Pastur needs q > 0 and variance > 0; got {self.q} and {self.variance}.")

    @property
    def edges(self) -> tuple[float, float]:
        """s²(1 ∓ √q)²."""
        root = sqrt(self.q)
        return self.variance * (1 - root) ** 2, self.variance * (1 + root) ** 2

    @property
    def atom(self) -> float:
        """The mass at 0, max(0, 1 − 1/q)."""
        return max(0.0, 1 - 1 / self.q)

    def density(self, x: ArrayLike) -> Array:
        """√((x₊ − x)(x − x₋)) / (2π q s² x) between the edges, 0 elsewhere; the atom is left out."""
        x = np.asarray(x, dtype=np.float64)
        low, high = self.edges
        inside = (x > low) & (x < high)
        safe = np.where(inside, x, (low + high) / 2)
        return np.where(inside, np.sqrt((high - safe) * (safe - low)) / (2 * pi * self.q * self.variance * safe), 0.0)

    def cdf(self, x: ArrayLike) -> Array:
        """The mass of (−∞, x], atom included, in closed form.

        With x = s²(1 + q − 2√q cos t), the mass between the lower edge and x is
        [(1 + q) t + 2√q sin t − |1 − q|·ψ] / (2πq), ψ = 2 arctan((1 + √q)/|1 − √q|·tan(t/2)).
        """
        x = np.asarray(x, dtype=np.float64)
        root = sqrt(self.q)
        cosine = np.clip((1 + self.q - x / self.variance) / (2 * root), -1.0, 1.0)
        t = np.arccos(cosine)
        # The density in t is (2/π) sin²t/(1 + q − 2√q cos t): a cosine, a constant and a Poisson kernel, which gives ψ.
        psi = 2 * np.arctan2((1 + root) * np.sin(t / 2), abs(1 - root) * np.cos(t / 2))
        gap = abs(1 - self.q)
        mass = (2 * root * np.sin(t) + (1 + self.q) * t - gap * psi) / (2 * pi * self.q)
        return np.where(x < 0, 0.0, self.atom + mass)

    def quantile(self, p: ArrayLike) -> Array:
        """The least x with cdf(x) ≥ p; no sampling."""
        p = np.asarray(p, dtype=np.float64)
        if ((p < 0) | (p > 1)).any():
            raise ValueError(f"probabilities lie in [0, 1]; got {p.min():.3g} … {p.max():.3g}.")
        low, high = (np.full(p.shape, edge) for edge in self.edges)
        for _ in range(60):  # bisection to 2^-60 of the support
            middle = (low + high) / 2
            below = self.cdf(middle) < p
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.where(p <= self.atom, 0.0 if self.atom > 0 else self.edges[0], (low + high) / 2)


def gaussian_singular_values(m: int, n: int, std: float = 1.0) -> Array:
    """The expected singular values of an (m, n) Gaussian matrix: the mid-quantiles of its Marchenko–Pastur law.

    Returns:
        (min(m, n),) decreasing: σ_i = std·√(n·x_i) with cdf(x_i) = 1 − (i − ½)/m for m ≤ n.
    """
    require_positive(m=m, n=n)
    k, l = min(m, n), max(m, n)
    levels = 1 - (np.arange(1, k + 1) - 0.5) / k
    return std * np.sqrt(l * MarchenkoPastur(k / l).quantile(levels))


def tracy_widom_cdf(s: float, *, n_nodes: int = 40) -> float:
    """F_1(s), the Tracy–Widom law of real symmetric matrices, F_1(s) = det(1 − B_s) with B_s(x, y) = ½Ai((x + y)/2 + s)
    on L²(0, ∞) (Ferrari & Spohn 2005), by Bornemann's (2010) quadrature: the determinant at Gauss–Legendre nodes.

    Args:
        s: the argument.
        n_nodes: 40 give 1e-8 for s ≥ −6 (against 128; tested against published quantiles).
    """
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    length = max(16.0 - s, 4.0)  # beyond it the Airy kernel is below 1e-16
    x, w = length * (nodes + 1), length * weights  # (0, 2·length)
    kernel = 0.5 * scipy.special.airy((x[:, None] + x[None, :]) / 2 + s)[0]
    root = np.sqrt(w)
    return float(np.linalg.det(np.eye(n_nodes) - root[:, None] * kernel * root[None, :]))


@lru_cache(maxsize=256)
def tracy_widom_quantile(p: float) -> float:
    """s with F_1(s) = p, for p in [1e-6, 1 − 1e-6]."""
    if not 1e-6 <= p <= 1 - 1e-6:
        raise ValueError(f"p must lie in [1e-6, 1 - 1e-6]; got {p}.")
    return float(scipy.optimize.brentq(lambda s: tracy_widom_cdf(s) - p, -8.0, 8.0, xtol=1e-8))


def largest_gaussian_singular_value(m: int, n: int, std: float = 1.0, *, probability: float = 0.5) -> float:
    """The quantile of σ_1 of an (m, n) Gaussian matrix: the edge std·(√m + √n) with its finite-size correction.

    σ_1² ≈ std²(μ + s·F_1⁻¹(p)), μ = (√(n−½) + √(m−½))², s = √μ·(1/√(n−½) + 1/√(m−½))^{1/3} (Johnstone 2001, theorem
    1.1, with the half-integer centring of Ma 2012, whose error is O(min(m, n)^{-2/3})).

    Args:
        m, n: shape; any order.
        std: standard deviation of an entry.
        probability: p; 0.5 is the median, 0.95 the usual line above which a value is no noise.
    """
    require_positive(m=m, n=n)
    a, b = sqrt(m - 0.5), sqrt(n - 0.5)
    centre, spread = (a + b) ** 2, (a + b) * (1 / a + 1 / b) ** (1 / 3)
    return std * sqrt(max(centre + spread * tracy_widom_quantile(probability), 0.0))


def product_interval(m: int, n: int, r: int, std_left: float = 1.0, std_right: float = 1.0) -> tuple[float, float]:
    """Where the r singular values of B A lie, B (m, r) and A (r, n) Gaussian: the null of a rank-r update.

    √(mn)·std_left·std_right·[(1 − √(r/m))(1 − √(r/n)), (1 + √(r/m))(1 + √(r/n))]: products of the extreme singular
    values of the factors, as m, n -> ∞ at fixed ratios. Marchenko–Pastur for (m, n) is not the law of a product.

    Raises:
        ValueError: r exceeds min(m, n).
    """
    require_positive(m=m, n=n, r=r)
    if r > min(m, n):
        raise ValueError(f"a product of rank r needs r <= min(m, n); got r = {r} for ({m}, {n}).")
    scale = sqrt(m * n) * std_left * std_right
    a, b = sqrt(r / m), sqrt(r / n)
    return scale * (1 - a) * (1 - b), scale * (1 + a) * (1 + b)


def product_samples(
    m: int, n: int, r: int, std_left: float = 1.0, std_right: float = 1.0, *, n_samples: int = 200, generator: Seed = 0
) -> Array:
    """Exact samples of the singular values of B A, B (m, r) and A (r, n) Gaussian, at O(r³) each.

    The triangular factor of a Gaussian (m, r) has independent entries, χ_{m−i} on its diagonal and normal above it
    (Bartlett 1933), so the r × r core R_B R_Aᵀ is drawn without drawing B or A.

    Returns:
        (n_samples, r), each row decreasing.
    """
    product_interval(m, n, r)  # checks the shape
    generator = generator_of(generator)
    cores = _bartlett(m, r, n_samples, generator) @ _bartlett(n, r, n_samples, generator).transpose(1, 2)
    return std_left * std_right * torch.linalg.svdvals(cores).numpy()


def gaussian_samples(m: int, n: int, *, n_samples: int = 200, generator: Seed = 0) -> Array:
    """Exact samples of the singular values of an (m, n) standard Gaussian matrix, by its triangular factor (Bartlett
    1933): for matrices too narrow for the limits above.

    Returns:
        (n_samples, min(m, n)), each row decreasing.
    """
    require_positive(m=m, n=n)
    cores = _bartlett(max(m, n), min(m, n), n_samples, generator_of(generator))
    return torch.linalg.svdvals(cores).numpy()


def _bartlett(m: int, r: int, n_samples: int, generator: torch.Generator) -> torch.Tensor:
    R = torch.randn(n_samples, r, r, generator=generator, dtype=torch.float64).triu(1)
    freedom = torch.arange(m, m - r, -1, dtype=torch.float64).expand(n_samples, r)
    chi = (2 * torch._standard_gamma(freedom / 2, generator=generator)).sqrt()  # χ²_k = 2 Γ(k/2)
    return R + torch.diag_embed(chi)


def hard_threshold(m: int, n: int, *, std: float | None = None, median: float | None = None) -> float:
    """The value of singular values below which truncation lowers the mean square error (Gavish & Donoho 2014).

    Known noise std: λ(β)·√max(m, n)·std, λ(β) = √(2(β + 1) + 8β/(β + 1 + √(β² + 14β + 1))), β = min/max (eq. 11).
    Unknown: λ(β)/√μ_β·median(σ), μ_β the median of Marchenko–Pastur (eq. 5); 2.858·median for a square matrix.

    Args:
        m, n: shape, any order.
        std: standard deviation of the noise's entries.
        median: median of all min(m, n) observed singular values. Give exactly one of the two.

    Raises:
        ValueError: not exactly one of std and median was given.

    Example:
        >>> round(hard_threshold(100, 100, median=1.0), 3)
        2.858
    """
    require_positive(m=m, n=n)
    if (std is None) == (median is None):
        raise ValueError("give exactly one of std (noise known) and median (of the singular values).")
    beta = min(m, n) / max(m, n)
    optimal = sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + sqrt(beta**2 + 14 * beta + 1)))
    if std is not None:
        return optimal * sqrt(max(m, n)) * std
    return optimal / sqrt(float(MarchenkoPastur(beta).quantile(0.5))) * float(median or 0.0)
