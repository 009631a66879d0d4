"""The intrinsic dimension of a delta as curvature and displacement predict it, beside the one that is measured."""

from __future__ import annotations

from math import inf, isfinite, nan
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lab.deltas import Delta
from lab.geometry.batch_losses import batch_loss
from lab.geometry.curvature_factor import (
    covariance_factor,
    factor_spectrum,
    gauss_newton_factor,
    gauss_newton_target,
    kernel_factor,
    kernel_target,
    output_jacobian,
)
from lab.geometry.intrinsic_dimension import IntrinsicDimension
from lab.geometry.predicted_dimension import PredictedDimension, krylov_spectrum, predicted_intrinsic_dimension
from lab.linalg import RecordedHessian

VARIANTS = {
    "Gauss-Newton at the solution": "curvature and displacement where training ends",
    "Gauss-Newton at the start": "curvature at φ₀, displacement to where training ends",
    "Gauss-Newton at the start, no training": "curvature at φ₀, displacement to the model's own solution",
    "kernel at the start, no training": "tangent kernel and residual at φ₀",
    "Hessian at the solution": "as the first, with the logits' own curvature",
    "Hessian at the start": "as the second, with the logits' own curvature",
    "gradient covariance at the start": "second moment of the gradients in place of a curvature",
    "Gauss-Newton at the start, isotropic": "curvature at φ₀ alone, every direction alike",
}

KERNEL = "kernel at the start, no training"


def predicted(delta: Delta, phi: Tensor, batch: dict[str, Tensor], hessian_steps: int) -> dict[str, PredictedDimension]:
    """d90 curves from each of `VARIANTS`; a variant that has no curvature is left out.

    Args:
        delta: on attention with derivatives of every kind.
        phi: (d,), where training ends.
        batch: what the loss is of; n sentences and c classes.
        hessian_steps: products with the Hessian at each end.
    """
    labels, e = batch["labels"], phi - delta.phi0
    logits, J = output_jacobian(delta, delta.phi0, batch)
    newton = factor_spectrum(gauss_newton_factor(logits, J))
    kernel = factor_spectrum(kernel_factor(logits, J))
    covariance = factor_spectrum(covariance_factor(logits, J, labels))
    end_logits, end_J = output_jacobian(delta, phi, batch)
    end = factor_spectrum(gauss_newton_factor(end_logits, end_J))

    def hessian(at: Tensor) -> RecordedHessian:
        return RecordedHessian(batch_loss(delta, batch), at)

    pairs: dict[str, tuple[Any, Any]] = {
        "Gauss-Newton at the solution": (end.eigenvalues, end.coordinates(e)),
        "Gauss-Newton at the start": (newton.eigenvalues, newton.coordinates(e)),
        "Gauss-Newton at the start, no training": (
            newton.eigenvalues, newton.solution_coordinates(gauss_newton_target(logits, labels)),
        ),
        "kernel at the start, no training": (
            kernel.eigenvalues, kernel.solution_coordinates(kernel_target(logits, labels)),
        ),
        "Hessian at the solution": krylov_spectrum(hessian(phi), e, hessian_steps),
        "Hessian at the start": krylov_spectrum(hessian(delta.phi0), e, hessian_steps),
        "gradient covariance at the start": (covariance.eigenvalues, covariance.coordinates(e)),
        "Gauss-Newton at the start, isotropic": (newton.eigenvalues, None),
    }  # fmt: skip
    found = {}
    for name, (values, coordinates) in pairs.items():
        given = None if coordinates is None else np.asarray(coordinates)
        if float(np.max(np.asarray(values))) > 0:
            found[name] = predicted_intrinsic_dimension(np.asarray(values), given, D=delta.size)
    return found


def finite_or_none(value: float) -> float | None:
    """A number for a record: None where it is infinite."""
    return value if isfinite(value) else None


def beside_measured(
    predictions: dict[str, PredictedDimension], by_score: IntrinsicDimension, by_loss: IntrinsicDimension, size: int
) -> pd.DataFrame:
    """One row per variant and measure of what is recovered: predicted, and measured with its interval.

    Args:
        predictions: of `predicted`.
        by_score, by_loss: the searches for 90 % of the score, and of the training loss.
        size: d of the whole delta.
    """
    rows = []
    for measured, name in ((by_loss, "training loss"), (by_score, "score")):
        low, high = (nan if end in (inf, 0) else end for end in (measured.low, measured.high))
        d = nan if measured.d is None or measured.status == "below_range" else measured.d
        rows += [
            {"variant": variant, "measure": name, "predicted": found.d, "measured": d, "low": low, "high": high,
             "size": size, "participation_ratio": found.participation_ratio}
            for variant, found in predictions.items()
        ]  # fmt: skip
    return pd.DataFrame(rows)


def prediction_curves(
    predictions: dict[str, PredictedDimension], by_loss: IntrinsicDimension, size: int
) -> pd.DataFrame:
    """Recovered share of the loss against d: every prediction, up to four times what was tried, and every run."""
    rows = [
        {"kind": "predicted", "variant": variant, "d": d, "share": share}
        for variant, found in predictions.items()
        for d, share in found.curve
        if d <= size and d <= 4 * max(by_loss.scores)
    ]
    rows += [
        {"kind": "measured", "variant": "training runs", "d": d, "share": share}
        for d, shares in by_loss.scores.items()
        for share in shares
    ]
    return pd.DataFrame(rows)
