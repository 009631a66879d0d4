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
class RankOneUpdate:
    """W + θuvᵀ for one matrix W and one pair of unit vectors: exact, at any size, without decomposing the sum.

    A value ρ off the spectrum of W is a singular value of W + θuvᵀ iff (1/θ − χ)² = φφ̃, with the transforms of
    Benaych-Georges & Nadakuditi 2012 before their limit: φ(ρ) = uᵀρ(ρ² − WWᵀ)⁻¹u, φ̃(ρ) = vᵀρ(ρ² − WᵀW)⁻¹v,
    χ(ρ) = uᵀ(ρ² − WWᵀ)⁻¹Wv. For u, v in general position φ and φ̃ tend to normalised traces and χ to 0.

    Attributes:
        values: singular values of W, (k,), k = min(m, n).
        left: ⟨u_i, u⟩ for W's left vectors, (k,); what is missing of ‖u‖² = 1 lies outside of their span.
        right: ⟨v_i, v⟩, (k,).
    """

    values: Array
    left: Array
    right: Array

    def __post_init__(self) -> None:
        shapes = {np.shape(x) for x in (self.values, self.left, self.right)}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise ValueError(f"values, left and right must be vectors of one length; got shapes {sorted(shapes)}.")

    @classmethod
    def in_general_position(cls, values: Array, shape: tuple[int, int], rng: np.random.Generator) -> RankOneUpdate:
        """u and v drawn uniformly from the unit spheres of R^m and R^n."""
        k = len(values)
        u, v = (x / np.linalg.norm(x) for x in (rng.standard_normal(length) for length in shape))
        return cls(values, u[:k], v[:k])

    def at(self, rho: ArrayLike) -> tuple[Array, Array, Array]:
        """What θ puts a singular value at ρ, and where its left vector û then points.

        (ρ² − WWᵀ)û = β(ρu + (α/β)Wv) with α/β = φ/(1/θ − χ), from W v̂ + θu⟨v, v̂⟩ = ρû and its adjoint.

        Args:
            rho: (R,), none of them a singular value of W.

        Returns:
            θ (2, R) for the two roots 1/θ = χ ± √(φφ̃), nan where it is not positive; |⟨u, û⟩|² (2, R); and
            max_i |⟨u_i, û⟩|² over W's own left vectors (2, R).
        """
        rho = np.asarray(rho, dtype=np.float64)
        pole = 1 / (rho[:, None] ** 2 - self.values**2)  # (R, k)
        a, b = self.left, self.right
        outside_left, outside_right = max(0.0, 1 - float(a @ a)), max(0.0, 1 - float(b @ b))
        phi = rho * (pole @ a**2) + outside_left / rho
        phi_right = rho * (pole @ b**2) + outside_right / rho
        chi = pole @ (self.values * a * b)
        with np.errstate(invalid="ignore", divide="ignore"):
            root = np.sqrt(phi * phi_right) * np.array([[1.0], [-1.0]])  # nan where the product is negative
            theta = np.where(chi + root > 0, 1 / (chi + root), np.nan)
            ratio = phi / root  # α/β
            u_hat = pole * (rho[:, None] * a + ratio[..., None] * (self.values * b))  # (2, R, k), not normalised
            total = (u_hat**2).sum(axis=-1) + outside_left / rho**2
            own = (u_hat @ a + outside_left / rho) ** 2 / total
            nearest = (u_hat**2).max(axis=-1) / total
        return theta, own, nearest
