"""At which strength does an update make its first intruder? The spiked model on the spectrum of W₀."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.linalg import LowRank, RankOneUpdate, Spectrum

Array = NDArray[np.float64]

_POINTS_PER_GAP = 33  # places tried between two neighbouring singular values of W₀; more moved no forecast by 1 %
_POINTS_ABOVE = 400


@dataclass(frozen=True)
class IntruderForecast:
    """What the spiked model says of W₀ + t·ΔW.

    Attributes:
        strength: median of the least t at which an intruder appears, over random directions; inf when most draws see
            none before t·‖ΔW‖₂ dwarfs W₀.
        low, high: 10 % and 90 % quantile of it.
        spike: t·‖ΔW‖₂ at `strength`.
        aligned_strength: the same t for the actual leading directions of ΔW; nan when they are not known.
        gaussian_spike: the value (mn)^{1/4}·rms(W₀) of t·‖ΔW‖₂ from which a direction shows at all, were W₀ Gaussian
            noise of its norm (Benaych-Georges & Nadakuditi 2012), k and ε aside.
    """

    strength: float
    low: float
    high: float
    spike: float
    aligned_strength: float
    gaussian_spike: float


def forecast_intruder(
    W0: Tensor | Spectrum,
    delta_w: Tensor | LowRank | Spectrum | float,
    *,
    k: int = 10,
    epsilon: float = 0.5,
    n_draws: int = 32,
    seed: int = 0,
) -> IntruderForecast:
    """The least t at which W₀ + t·ΔW has an intruder, from the spectrum of W₀ and ‖ΔW‖₂, without decomposing a sum.

    The leading part of t·ΔW is a spike θuvᵀ, θ = t·‖ΔW‖₂. It makes an intruder once it puts a singular value ρ among
    the k largest, ρ > σ_k(W₀), whose vector overlaps less than ε with each u_i(W₀). Both follow from the spectrum of W₀
    and the components of u and v in its bases (`lab.linalg.RankOneUpdate`); with u, v in general position these are
    drawn. The least such θ is searched over ρ, in the gaps between the k largest values of W₀ and above them.

    Args:
        W0: base weights (m, n), or their spectrum (with vectors, for `aligned_strength`).
        delta_w: ΔW, its spectrum with vectors, or its spectral norm alone.
        k, epsilon: as in `intruder_dimensions`.
        n_draws: random directions; 32 give the median to about ±5 %.
        seed: of these draws.

    Warning:
        Rank one: several strong directions of ΔW are treated as its first. They only add intruders, so the forecast is
        late, not early, when they matter.

    Raises:
        ValueError: k < 1, ε not in (0, 1], n_draws < 1, or ΔW is a negative norm.
    """
    if k < 1 or not 0 < epsilon <= 1 or n_draws < 1:
        raise ValueError(f"k and n_draws must be >= 1 and epsilon in (0, 1]; got {k}, {n_draws} and {epsilon}.")
    base = W0 if isinstance(W0, Spectrum) else Spectrum.of(W0, vectors=True)
    update = Spectrum.of(delta_w, vectors=True) if isinstance(delta_w, Tensor | LowRank) else delta_w
    norm = update.spectral_norm if isinstance(update, Spectrum) else float(update)
    if norm < 0:
        raise ValueError(f"‖ΔW‖₂ must be >= 0; got {norm}.")
    m, n = base.shape
    gaussian = base.frobenius_norm / (m * n) ** 0.25 if m * n else 0.0  # (mn)^{1/4}·‖W₀‖_F/√(mn)
    if norm == 0 or base.spectral_norm == 0:
        return IntruderForecast(inf, inf, inf, inf, nan, gaussian)
    values = base.values.numpy()
    rho = _candidates(values, min(k, m, n))
    rng = np.random.default_rng(seed)
    drawn = (RankOneUpdate.in_general_position(values, (m, n), rng) for _ in range(n_draws))
    thetas = np.sort([_first(spike, rho, epsilon) for spike in drawn])  # inf sorts last
    low, middle, high = (float(thetas[round(q * (n_draws - 1))]) for q in (0.1, 0.5, 0.9))
    own = _actual(base, update) if isinstance(update, Spectrum) else None
    aligned = nan if own is None else _first(own, rho, epsilon) / norm
    return IntruderForecast(middle / norm, low / norm, high / norm, middle, aligned, gaussian)


def _candidates(values: Array, k: int) -> Array:
    """Places ρ > σ_k off the spectrum: inside the gaps between the k largest values, and above all of them."""
    inside = np.arange(1, _POINTS_PER_GAP + 1) / (_POINTS_PER_GAP + 1)
    high, low = values[: k - 1], values[1:k]
    wide = high > low * (1 + 1e-9)
    gaps = (low[:, None] + (high - low)[:, None] * inside)[wide].ravel()
    return np.concatenate([gaps, values[0] * (1 + np.geomspace(1e-4, 100, _POINTS_ABOVE))])


def _first(spike: RankOneUpdate, rho: Array, epsilon: float) -> float:
    """The least θ that puts an intruder at one of the places; inf when none does."""
    theta, _, nearest = spike.at(rho)
    intruding = np.isfinite(theta) & (np.sqrt(nearest) < epsilon)
    return float(theta[intruding].min()) if intruding.any() else inf


def _actual(base: Spectrum, update: Spectrum) -> RankOneUpdate | None:
    """The leading direction of ΔW in the bases of W₀."""
    bases = (base.left, base.right, update.left, update.right)
    if any(vectors is None for vectors in bases):
        return None
    U0, V0, U, V = (torch.as_tensor(vectors).to(torch.float64) for vectors in bases)
    return RankOneUpdate(base.values.numpy(), (U0.T @ U[:, 0]).cpu().numpy(), (V0.T @ V[:, 0]).cpu().numpy())
