"""When training makes the first intruder of each matrix, and when the threshold of W₀'s spectrum says that it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lab.deltas import Delta
from lab.geometry.intruder_forecast import forecast_intruder
from lab.geometry.intruders import intruder_dimensions
from lab.geometry.passage import extrapolated_passage, first_passage
from lab.geometry.studied_matrices import studied
from lab.linalg import Spectrum
from lab.models.architecture import WeightMatrix

STEPS, STEP_SIZE = "training time", "step size"
"""What grows until the first intruder; the column `along`."""


@dataclass(frozen=True)
class Threshold:
    """Where the spiked model sees the first intruder of a matrix.

    Attributes:
        at: the matrix.
        W0: (m, n), float64.
        base: its spectrum, with vectors.
        spike, low, high: the ‖ΔW‖₂ from which half, 10 % and 90 % of random directions have intruded.
    """

    at: WeightMatrix
    W0: Tensor
    base: Spectrum
    spike: float
    low: float
    high: float


def thresholds_of(delta: Delta, max_blocks: int, k: int, epsilon: float) -> list[Threshold]:
    """Those of query and value matrices that a delta changes, in at most so many blocks, evenly spaced."""
    plm = delta.plm
    with torch.no_grad():
        names = delta.overrides(delta.phi0)
    found = []
    for m in studied(plm, names, max_blocks):
        W0 = m.of(plm.parameters[m.name]).detach().double()
        base = Spectrum.of(W0, vectors=True)
        forecast = forecast_intruder(base, 1.0, k=k, epsilon=epsilon)
        found.append(Threshold(m, W0, base, forecast.strength, forecast.low, forecast.high))
    return found


def looked_at(
    delta: Delta, phi: Tensor, thresholds: Sequence[Threshold], k: int, epsilon: float
) -> Iterator[dict[str, Any]]:
    """Per matrix at one φ: ‖ΔW‖₂, which of its thresholds that has met, and whether W₀ + ΔW has an intruder."""
    with torch.no_grad():
        overrides = delta.overrides(phi)
    for t in thresholds:
        W1 = t.at.of(overrides[t.at.name]).double()
        norm = float(torch.linalg.matrix_norm(W1 - t.W0, 2))
        seen = intruder_dimensions(t.W0, W1, k, epsilon, base=t.base).count > 0
        met = {"forecast": norm >= t.spike, "low": norm >= t.high, "high": norm >= t.low}
        yield {"matrix": t.at.label, "norm": norm, "with_intruder": seen, **met}


def intruder_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Per step size and step: which share of the matrices has an intruder, and which should."""
    columns = ["with_intruder", "forecast", "low", "high"]
    return rows.groupby(["step_size", "step"], sort=False)[columns].mean().reset_index()


def onset_rows(rows: pd.DataFrame, thresholds: Sequence[Threshold], known: float) -> Iterator[dict[str, Any]]:
    """Per matrix: the first step of each run with an intruder and the least step size of the grid, each forecast.

    Args:
        rows: of `looked_at`, with step_size and step.
        thresholds: of the matrices.
        known: step up to which extrapolation knows ‖ΔW‖₂.
    """
    steps = int(rows["step"].max())
    by_label = {t.at.label: t for t in thresholds}
    for (matrix, step_size), part in rows.groupby(["matrix", "step_size"], sort=False):
        place = {"along": STEPS, "matrix": matrix, "run": f"η = {step_size:g}"}
        yield place | _passages(part, "step", by_label[str(matrix)], int((part["step"] <= known).sum()))
    last = rows[rows["step"] == steps]
    for matrix, part in last.groupby("matrix", sort=False):
        place = {"along": STEP_SIZE, "matrix": matrix, "run": f"{steps} steps"}
        yield place | _passages(part, "step_size", by_label[str(matrix)], 1)


def _passages(part: pd.DataFrame, along: str, t: Threshold, known: int) -> dict[str, float]:
    """When the first intruder is seen, and both forecasts; `before`: the last time looked at without one."""
    times, norms = part[along].to_numpy(float), part["norm"].to_numpy(float)
    seen = np.flatnonzero(part["with_intruder"])
    first = int(seen[0]) if len(seen) else len(times)
    return {
        "forecast": first_passage(times, norms, t.spike),
        "forecast_low": first_passage(times, norms, t.low),
        "forecast_high": first_passage(times, norms, t.high),
        "extrapolated": extrapolated_passage(times[:known], norms[:known], t.spike),
        "seen": times[first] if first < len(times) else inf,
        "before": times[first - 1] if first else 0.0,
        "tried_up_to": times[-1],
    }
