"""`Metric`: what a task is scored by, with its unit and range. Higher is better for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """A score of logits against labels.

    Attributes:
        name: as shown in tables: "accuracy", "F1", "Matthews", "Pearson", "Spearman".
        unit: unit of the score for axis labels.
        low: smallest possible value.
        high: largest possible value, reached by perfect predictions.
        score: (predictions (N,), labels (N,)) ↦ score, both float64; predictions are classes, or values in regression.
    """

    name: str
    unit: str
    low: float
    high: float
    score: Callable[[Tensor, Tensor], float]

    def __call__(self, logits: Tensor, labels: Tensor) -> float:
        """Score of a whole split.

        Args:
            logits: (N, c) for c classes, predicted by argmax; (N, 1) or (N,) for regression.
            labels: (N,).

        Returns:
            The score; NaN where a logit is not finite, since an argmax of NaN would look like a prediction.

        Raises:
            ValueError: no examples, or shapes that do not match.
        """
        if labels.ndim != 1 or len(labels) == 0 or len(logits) != len(labels) or logits.ndim not in (1, 2):
            raise ValueError(
                f"{self.name} needs logits (N, c) or (N,) and labels (N,), N > 0; "
                f"got {tuple(logits.shape)} and {tuple(labels.shape)}."
            )
        if not torch.isfinite(logits).all():
            return float("nan")
        single = logits.ndim == 1 or logits.shape[1] == 1
        predictions = logits.reshape(-1) if single else logits.argmax(dim=1)
        return self.score(predictions.double(), labels.to(logits.device).double())


def _accuracy(predictions: Tensor, labels: Tensor) -> float:
    return float((predictions == labels).double().mean())


def _confusion(predictions: Tensor, labels: Tensor) -> tuple[float, float, float, float]:
    """True positives, false positives, false negatives, true negatives, class 1 being the positive one."""
    positive, actual = predictions == 1, labels == 1
    cells = (positive & actual, positive & ~actual, ~positive & actual, ~positive & ~actual)
    tp, fp, fn, tn = (float(cell.sum()) for cell in cells)
    return tp, fp, fn, tn


def _f1(predictions: Tensor, labels: Tensor) -> float:
    tp, fp, fn, _ = _confusion(predictions, labels)
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def _matthews(predictions: Tensor, labels: Tensor) -> float:
    tp, fp, fn, tn = _confusion(predictions, labels)
    scale = ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    return (tp * tn - fp * fn) / scale if scale else 0.0


def _pearson(predictions: Tensor, labels: Tensor) -> float:
    x, y = predictions - predictions.mean(), labels - labels.mean()
    # rounding of the mean leaves a constant vector with entries of a few eps, not with zeros
    floor = 1e-12 * (len(x) ** 0.5)
    if x.norm() <= floor * predictions.abs().max() or y.norm() <= floor * labels.abs().max():
        return 0.0
    return float(torch.clamp(x @ y / (x.norm() * y.norm()), -1, 1))


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1, ties sharing their mean rank."""
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[inverse]


def _spearman(predictions: Tensor, labels: Tensor) -> float:
    return _pearson(_ranks(predictions), _ranks(labels))


ACCURACY = Metric("accuracy", "fraction of examples", 0.0, 1.0, _accuracy)
F1 = Metric("F1", "harmonic mean of precision and recall of class 1", 0.0, 1.0, _f1)
MATTHEWS = Metric(
    "Matthews", "correlation of binary classes; 0 when one class is never predicted", -1.0, 1.0, _matthews
)
PEARSON = Metric("Pearson", "correlation; 0 for constant predictions", -1.0, 1.0, _pearson)
SPEARMAN = Metric("Spearman", "rank correlation; 0 for constant predictions", -1.0, 1.0, _spearman)

METRICS: tuple[Metric, ...] = (ACCURACY, F1, MATTHEWS, PEARSON, SPEARMAN)
