"""The strength at which the first intruder is seen: bracketed, exact where it is known, and told apart from never."""

from __future__ import annotations

from math import inf, sqrt

import pytest
import torch

from lab.geometry import forecast_intruder, intruder_dimensions, intruder_onset
from lab.linalg import LowRank, Spectrum


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_spike_on_a_diagonal_intrudes_when_it_passes_the_kth_value():
    # e₅e₅ᵀ is orthogonal to all of W₀ = diag(3, 2, 1, ½, 0): its value t is among the two largest once t > 2. Then
    # u₂ = e₅, and the last left vector of W₀ is e₅ itself (up to sign), so look with vectors of non-zero values only
    W0 = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5], dtype=torch.float64))
    W0 = torch.cat([W0, torch.zeros(1, 4, dtype=torch.float64)])  # (5, 4): e₅ is outside of the column space
    spike = torch.zeros(5, 4, dtype=torch.float64)
    spike[4, 3] = 1.0
    # t·e₅e₄ᵀ + ½·e₄e₄ᵀ has value √(t² + ¼) and left vector (t e₅ + ½ e₄)/√(t² + ¼): overlap ½/√(t² + ¼) < ½ at once
    onset = intruder_onset(W0, spike, low=0.1, high=10, k=2, tolerance=1e-6)
    assert onset == pytest.approx(sqrt(4 - 0.25), rel=1e-5)


def test_brackets_what_the_count_says_and_agrees_with_the_forecast_of_its_directions():
    W0 = gaussian(60, 60) / sqrt(60)
    update = LowRank(gaussian(60, 1, seed=1) / sqrt(60), gaussian(1, 60, seed=2) / sqrt(60))
    base = Spectrum.of(W0, vectors=True)
    onset = intruder_onset(W0, update, low=0.1, high=20, base=base)
    assert intruder_dimensions(W0, W0 + onset * update.to_dense()).count
    assert not intruder_dimensions(W0, W0 + onset / 1.04 * update.to_dense()).count
    assert onset == pytest.approx(forecast_intruder(base, update).aligned_strength, rel=0.1)


def test_already_there_and_never():
    W0 = gaussian(20, 20)
    base = Spectrum.of(W0, vectors=True)
    along = LowRank(base.left[:, :1], base.right[:, :1].T)
    assert intruder_onset(W0, along, low=0.1, high=10) == inf
    W0, strong = gaussian(90, 90), LowRank(gaussian(90, 1, seed=1), gaussian(1, 90, seed=2))
    assert intruder_onset(W0, strong, low=100, high=200) == 100


def test_misuse_is_named():
    W0 = gaussian(3, 3)
    for wrong in ({"low": 0, "high": 1}, {"low": 2, "high": 1}, {"low": 1, "high": 2, "step": 1}):
        with pytest.raises(ValueError, match="need 0 < low < high, step > 1 and tolerance > 0"):
            intruder_onset(W0, W0, **wrong)
