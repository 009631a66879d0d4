"""The margins of a classifier's sentences, and the least control energy that moves them."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from lab.control.gramian import MinimumEnergy, minimum_energy
from lab.control.problem import ControlProblem, Trajectory
from lab.deltas import Delta
from lab.models.plm import Batch

REQUESTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Wanted changes of every sentence's margin, in logits."""


def margins_of(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of the right class minus the mean of the others, one per sentence.

    Args:
        logits: (n, classes).
        labels: (n,).
    """
    right = logits.gather(1, labels[:, None])[:, 0]
    return right - (logits.sum(1) - right) / (logits.shape[1] - 1)


@torch.no_grad()
def margins(delta: Delta, phi: Tensor, batch: Batch) -> Tensor:
    """`margins_of` a delta's logits."""
    return margins_of(delta.logits(phi, batch), batch["labels"])


def least_energy(problem: ControlProblem, trajectory: Trajectory, labels: Tensor) -> MinimumEnergy:
    """The least control that raises every margin by one logit, to first order."""
    like = trajectory.controls[0]
    target = torch.ones(len(labels), dtype=like.dtype, device=like.device)
    tolerance = 1e-10 if target.dtype == torch.float64 else 1e-4  # of the linear residual: what the dtype can hold
    return minimum_energy(problem, trajectory, target, at=lambda z: margins_of(z, labels), tolerance=tolerance)


def energy_table(delta: Delta, batch: Batch, least: MinimumEnergy) -> pd.DataFrame:
    """One row per request: the least control scaled to it (first order is linear), applied, and what it really did."""
    norm, before = float(least.energy.sqrt()), margins(delta, delta.phi0, batch)
    rows = []
    for request in REQUESTS:
        change = margins(delta, delta.phi0 + request * least.control, batch) - before
        rows.append(
            {"request": request, "norm": request * norm, "predicted": request * float(least.predicted.mean()),
             "achieved": float(change.mean()), "lowest": float(change.min()), "highest": float(change.max())}
        )  # fmt: skip
    return pd.DataFrame(rows)
