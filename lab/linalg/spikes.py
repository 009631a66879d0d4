"""Low-rank signal added to a noise matrix: where its singular values land and how far its vectors survive.

Benaych-Georges & Nadakuditi 2012. A spike θuvᵀ with u, v in general position is added to a matrix with bulk singular
values σ_i; below a threshold it is swallowed by the bulk, above it an outlier appears.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spike:
    """What a spike of strength θ becomes.

    Attributes:
        sigma: the top singular value of noise + spike.
        cos2_left: |⟨u, û⟩|²; 0 below the threshold.
        cos2_right: |⟨v, v̂⟩|².
        detached: whether θ exceeds the threshold.
    """

    sigma: float
    cos2_left: float
    cos2_right: float
    detached: bool


def spike_threshold(c: float) -> float:
    """c^{1/4}: the least θ that shows, for (m, n) noise with entries of variance 1/n and c = m/n."""
    if not c > 0:
        raise ValueError(f"the aspect ratio c = m/n must be > 0; got {c}.")
    return c**0.25


def spike_forward(theta: float, c: float) -> Spike:
    """The outlier of θuvᵀ + W, W (m, n) with independent entries of variance 1/n, c = m/n, as m, n -> ∞.

    θ > c^{1/4}: σ = √((1 + θ²)(c + θ²))/θ, |⟨u, û⟩|² = 1 − c(1 + θ²)/(θ²(θ² + c)),
    |⟨v, v̂⟩|² = 1 − (c + θ²)/(θ²(θ² + 1)); else σ is the edge 1 + √c (Benaych-Georges & Nadakuditi 2012, section 3.1).

    Example:
        >>> spike_forward(2.0, 1.0)
        Spike(sigma=2.5, cos2_left=0.75, cos2_right=0.75, detached=True)
    """
    if theta < 0:
        raise ValueError(f"a spike's strength must be >= 0; got {theta}.")
    if theta <= spike_threshold(c):
        return Spike(1 + sqrt(c), 0.0, 0.0, False)
    t = theta**2
    return Spike(
        sigma=sqrt((1 + t) * (c + t)) / theta,
        cos2_left=1 - c * (1 + t) / (t * (t + c)),
        cos2_right=1 - (c + t) / (t * (t + 1)),
        detached=True,
    )


def spike_inverse(sigma: float, c: float) -> float:
    """θ of the spike whose outlier is σ; 0 when σ does not exceed the edge 1 + √c. Inverse of `spike_forward`.

    θ² is the larger root of θ⁴ − (σ² − 1 − c)θ² + c = 0.
    """
    if sigma <= 1 + sqrt(c):
        return 0.0
    b = sigma**2 - 1 - c
    return sqrt((b + sqrt(max(b * b - 4 * c, 0.0))) / 2)


@dataclass(frozen=True, eq=False)
class Bulk:
    """Any matrix W (m, n), known by its singular values, seen by spikes in general position.

    Attributes:
        values: all min(m, n) singular values, decreasing.
        shape: (m, n).
    """

    values: Array
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        if values.shape != (min(self.shape),) or (np.diff(values) > 0).any():
            raise ValueError(
                f"a bulk of shape {self.shape} needs all {min(self.shape)} singular values, decreasing; got "
                f"shape {values.shape}."
            )
        object.__setattr__(self, "values", values)

    def transforms(self, rho: ArrayLike) -> tuple[Array, Array]:
        """φ(ρ) = 1/m tr ρ(ρ² − WWᵀ)⁻¹ and φ̃(ρ) = 1/n tr ρ(ρ² − WᵀW)⁻¹ (their eqs. 6–7); D = φ φ̃."""
        rho = np.asarray(rho, dtype=np.float64)[..., None]
        total = (rho / (rho**2 - self.values**2)).sum(axis=-1)
        m, n = self.shape
        k = len(self.values)
        rho = rho[..., 0]
        return (total + (m - k) / rho) / m, (total + (n - k) / rho) / n  # the missing directions have σ = 0

    def strength(self, rho: ArrayLike) -> Array:
        """θ at which an outlier sits at ρ: D(ρ) = 1/θ² (their theorem 2.8); nan where no spike puts one there."""
        left, right = self.transforms(rho)
        allowed = (left > 0) & (right > 0)
        return np.where(allowed, 1 / np.sqrt(np.where(allowed, left * right, 1.0)), np.nan)

    def overlaps(self, rho: float) -> tuple[float, Array]:
        """How the left vector û of an outlier at ρ divides between the spike and W's own left vectors.

        (ρ² − WWᵀ) û = ρβ u + αW v with α = θβφ(ρ); averaging over u, v in general position gives û a weight on u_i of
        β²(ρ²/m + θ²φ²σ_i²/n)/(ρ² − σ_i²)², and ⟨u, û⟩ = βφ, where β normalises û. Finite-size, at leading order.

        Returns:
            |⟨u, û⟩|², and E|⟨u_i, û⟩|² per singular vector of W, (min(m, n),).
        """
        m, n = self.shape
        phi, phi_right = (float(f) for f in self.transforms(rho))
        source = rho**2 / m + phi / phi_right * self.values**2 / n  # θ²φ² = φ/φ̃
        weights = source / (rho**2 - self.values**2) ** 2
        total = weights.sum() + (m - len(self.values)) / m / rho**2
        return phi**2 / total, weights / total
