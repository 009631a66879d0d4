"""Predicted intrinsic dimension: the d90 curve of a quadratic with a given curvature spectrum, without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

import numpy as np
import scipy  # its names load their modules on first use
from numpy.typing import ArrayLike
from torch import Tensor

from lab.faces import outlined
from lab.linalg import LinearOperator, tridiagonalize


@outlined
@dataclass(frozen=True)
class PredictedDimension:
    """The quadratic's answer to "how many random dimensions?".

    Attributes:
        d: smallest integer dimension whose predicted recovered share reaches `fraction`; D when none below D does.
        fraction: the share asked for.
        curve: (dimension, recovered share of the loss), ascending in d; 0 at d = 0, 1 at d = D.
        start: loss above the minimum at θ₀, ½ Σ λ_i e_i².
        participation_ratio: (Σλ)²/Σλ² of the spectrum, for comparison.
    """

    d: int
    fraction: float
    curve: tuple[tuple[int, float], ...]
    start: float
    participation_ratio: float


def predicted_intrinsic_dimension(
    eigenvalues: ArrayLike,
    displacement: ArrayLike | None = None,
    *,
    D: int | None = None,
    fraction: float = 0.9,
    dimensions: Sequence[int] | None = None,
) -> PredictedDimension:
    """From a curvature spectrum and the distance to the solution to a predicted d90 curve.

    For F = ½(θ − θ⁺)ᵀA(θ − θ⁺) and Gaussian P ∈ R^{D×d}, the minimum over θ₀ + Pφ is F* = ½ eᵀA^{1/2}(I − Π)A^{1/2}e,
    with Π the projection on the range of A^{1/2}P. E Π is diagonal in the eigenvectors of A, with the equivalent
    E Π_ii ≈ λ_i/(λ_i + κ), where κ > 0 solves Σ_i λ_i/(λ_i + κ) = d (Dereziński et al. 2020, theorem 1). So

        E F*(d) ≈ ½ Σ_i λ_i e_i² κ/(λ_i + κ).

    Exact for A = c·I: ½ c‖e‖²(1 − d/D). Zero from d = rank A on.

    Args:
        eigenvalues: of A, (k,), k ≤ D; small negative ones (roundoff, or a Hessian away from a minimum) count as 0.
        displacement: e = θ⁺ − θ₀ in the eigenvectors of A, (k,). None: an isotropic direction, e_i² all equal.
        D: dimension of the full space; eigenvalues not given are 0. Default k.
        fraction: share of the start's excess loss to recover. Default 0.9, as in d90 (of a score there, a loss here).
        dimensions: where to tabulate the curve; default at most 64 from 1 to D, even in log d.

    Raises:
        ValueError: sizes that do not fit, values that are not finite, no positive curvature along e, or a fraction
            outside (0, 1).

    Warning:
        The equivalent is asymptotic: tested against simulation from d = 8 on; for fewer dimensions it is a guide. A
        quadratic's loss is not a score: d90 of an accuracy saturates where the loss still falls.
    """
    given = np.asarray(eigenvalues, float)
    if given.ndim != 1 or not given.size or not np.isfinite(given).all():
        raise ValueError(f"eigenvalues must be a non-empty finite vector (k,); got shape {given.shape}.")
    D = given.size if D is None else D
    if given.size > D:
        raise ValueError(f"D must be at least the number of eigenvalues, {given.size}; got {D}.")
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie in (0, 1); got {fraction}.")
    e = np.ones_like(given) if displacement is None else np.asarray(displacement, float)
    if e.shape != given.shape or not np.isfinite(e).all():
        raise ValueError(f"displacement must be finite, of shape {given.shape} like the eigenvalues; got {e.shape}.")
    spectrum = np.clip(given, 0, None)
    losses = 0.5 * spectrum * e**2
    start = float(losses.sum())
    if not start > 0:
        raise ValueError("no positive curvature along the displacement: the loss is at its minimum already.")

    points = _default_dimensions(D) if dimensions is None else sorted({int(d) for d in dimensions})
    if points[0] < 0 or points[-1] > D:
        raise ValueError(f"dimensions must lie in [0, D = {D}]; got {points[0]} to {points[-1]}.")

    def share(d: int) -> float:
        return 1 - remaining_share(spectrum, losses, d)

    low, high = 0, D  # share(low) < fraction <= share(high), up to roundoff: it grows with d
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if share(middle) >= fraction - 1e-9 else (middle, high)
    curve = tuple((d, share(d)) for d in points)
    return PredictedDimension(high, fraction, curve, start, float(spectrum.sum() ** 2 / (spectrum**2).sum()))


def krylov_spectrum(A: LinearOperator, e: Tensor, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Ritz values of A in the Krylov space of e, and the coordinates of e in the Ritz vectors: (k,) each, k ≤ steps.

    What `predicted_intrinsic_dimension` needs of an operator too large to diagonalise, such as a Hessian: Σ λ_i e_i²
    and every other moment up to degree 2·steps − 1 is exact (Golub & Meurant 1994). The spectrum
    itself is not: its outliers are found, its bulk is thinned to the k values that e sees, so that a prediction never
    exceeds k.

    Args:
        A: symmetric (d, d).
        e: (d,), the displacement; not 0.
        steps: products with A.
    """
    values, S = tridiagonalize(A, e, steps).eigenpairs()
    return values.numpy(), float(e.norm()) * S[0].numpy()


def remaining_share(spectrum: np.ndarray, losses: np.ndarray, d: int) -> float:
    """E F*(d)/F(θ₀): Σ_i losses_i κ/(λ_i + κ) / Σ losses, with Σ_i λ_i/(λ_i + κ) = d.

    Args:
        spectrum: λ ≥ 0, (k,).
        losses: ½ λ_i e_i², (k,).
        d: dimension of the random subspace.
    """
    kappa = resolution(spectrum, d)
    return (
        1.0
        if kappa == inf
        else float((losses * kappa / np.where(spectrum > 0, spectrum + kappa, 1)).sum() / losses.sum())
    )


def resolution(spectrum: np.ndarray, d: int) -> float:
    """κ(d), the curvature that a random d-dimensional subspace just resolves: Σ_i λ_i/(λ_i + κ) = d.

    inf at d = 0; 0 from d = number of positive eigenvalues on.
    """
    positive = spectrum[spectrum > 0]
    if d <= 0:
        return inf
    if d >= positive.size:
        return 0.0
    upper = float(positive.sum()) / d  # there the sum is below d
    lower = float(positive.min()) * (positive.size / d - 1)  # there it is at least d
    excess = lambda log_kappa: float((positive / (positive + np.exp(log_kappa))).sum()) - d  # noqa: E731
    return float(np.exp(scipy.optimize.brentq(excess, np.log(lower) - 1e-6, np.log(upper) + 1e-6, xtol=1e-12)))


def _default_dimensions(D: int) -> list[int]:
    return sorted({ceil(d) for d in np.geomspace(1, D, 64)} - {D + 1} | {D})
