"""At which strength does the first intruder appear? By looking, to be put beside `forecast_intruder`."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from lab.geometry.intruders import intruder_dimensions
from lab.linalg import LowRank, Spectrum


def intruder_onset(
    W0: Tensor,
    delta_w: Tensor | LowRank,
    *,
    low: float,
    high: float,
    k: int = 10,
    epsilon: float = 0.5,
    step: float = 1.5,
    tolerance: float = 0.03,
    base: Spectrum | None = None,
) -> float:
    """The least t in [low, high] at which W₀ + t·ΔW has an intruder, to a relative `tolerance`.

    Strengths grow by the factor `step` until one has an intruder, then the last step is bisected. An intruder that
    comes and goes within one step is missed, so the result may be late.

    Args:
        W0: base weights (m, n).
        delta_w: ΔW (m, n).
        low, high: where to look.
        k, epsilon: as in `intruder_dimensions`.
        step: factor between strengths; each costs one SVD.
        tolerance: relative width at which bisection stops.
        base: spectrum of W₀ with vectors, if at hand.

    Returns:
        t; `low` if there is one already; inf if there is none up to `high`.

    Raises:
        ValueError: not 0 < low < high, step <= 1, or tolerance <= 0.
    """
    if not 0 < low < high or step <= 1 or tolerance <= 0:
        raise ValueError(f"need 0 < low < high, step > 1 and tolerance > 0; got {low}, {high}, {step} and {tolerance}.")
    base = base if base is not None else Spectrum.of(W0, vectors=True)
    W = W0.detach().to(torch.float64)
    delta = (delta_w.to_dense() if isinstance(delta_w, LowRank) else delta_w).detach().to(torch.float64)

    def intruded(t: float) -> bool:
        return intruder_dimensions(W, W + t * delta, k, epsilon, base=base).count > 0

    if intruded(low):
        return low
    without = low
    while without < high:
        t = min(without * step, high)
        if intruded(t):
            break
        without = t
    else:
        return inf
    with_one = t
    while with_one / without > 1 + tolerance:
        middle = (without * with_one) ** 0.5
        without, with_one = (without, middle) if intruded(middle) else (middle, with_one)
    return with_one
