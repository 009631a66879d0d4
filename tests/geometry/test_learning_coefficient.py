"""Learning coefficients against closed forms: reduced-rank regression, quadratics, and the posterior of (ab)²."""

from __future__ import annotations

from math import erf, log, pi, sqrt

import numpy as np
import pytest
import torch

from lab.geometry.learning_coefficient import (
    Langevin,
    Singularity,
    effective_dimension,
    learning_coefficient,
    reduced_rank_singularity,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_known_singularities():
    assert reduced_rank_singularity(1, 1, 1, 0) == Singularity(0.5, 2)  # (ab)²
    assert reduced_rank_singularity(1, 1, 1, 1) == Singularity(0.5, 1)  # ab = 1: regular across a curve
    assert reduced_rank_singularity(384, 384, 8, 8).coefficient == 3040  # truth.md's LoRA
    assert reduced_rank_singularity(384, 384, 8, 0).coefficient == 1528
    assert reduced_rank_singularity(2, 2, 5, 2) == Singularity(2.0, 1)  # more hidden units than needed: MN/2


def test_at_full_rank_it_is_half_the_dimension_of_the_matrices_of_that_rank():
    """Rank-H matrices form a manifold of dimension H(M + N − H), along which the loss is regular."""
    for M, N, H in ((5, 7, 2), (6, 6, 6), (9, 4, 3), (3, 12, 3)):
        assert reduced_rank_singularity(M, N, H, H).coefficient == H * (M + N - H) / 2


def test_cases_meet_at_their_borders_and_never_exceed_half_of_the_parameters():
    for M in range(1, 7):
        for N in range(1, 7):
            for H in range(1, 7):
                found = [reduced_rank_singularity(M, N, H, r).coefficient for r in range(min(M, N, H) + 1)]
                assert found == sorted(found)  # a simpler truth is never dearer
                assert max(found) <= min(H * (M + N), M * N) / 2
                assert found == [reduced_rank_singularity(N, M, H, r).coefficient for r in range(min(M, N, H) + 1)]


def test_sizes_out_of_range_are_refused():
    with pytest.raises(ValueError, match="0 <= rank <= all of them; got 2, 3, 1 and rank 2"):
        reduced_rank_singularity(2, 3, 1, 2)


def test_a_quadratic_has_half_its_effective_dimension():
    """E[½ nβ h x²] at stationarity of the discrete chain: ½ nβ h/(a (1 − ε a/4)), a = nβ h + γ, exactly."""
    h = torch.tensor([4.0, 1.0, 0.1, 0.0], dtype=torch.float64)
    n, how = 1000, Langevin(step=5e-4, localisation=20.0, draws=4000, burn_in=500, chains=4)
    found = learning_coefficient(
        lambda x: 0.5 * (h * x.square()).sum() + 0.3, torch.zeros(4, dtype=torch.float64), n, how, generator=generator()
    )
    scale = n / log(n)
    a = scale * h + how.localisation
    exact = float((0.5 * scale * h / (a * (1 - how.step * a / 4))).sum())
    assert found.status == "finished"
    assert found.estimate == pytest.approx(exact, rel=0.1)
    assert exact == pytest.approx(effective_dimension(h, how.localisation / scale) / 2, rel=0.15)  # the bias of ε


def posterior_of_a_product(n: float) -> float:
    """nβ E[(ab)²] under exp(−nβ (ab)²) on [−1, 1]²: Z = ∫ √π erf(a√s)/(2a√s) da, λ̂ = −d ln Z/d ln s."""
    a = np.exp(np.linspace(-40, 0, 40001))

    def log_z(s: float) -> float:
        inner = np.array([1.0 if x * sqrt(s) < 1e-8 else sqrt(pi) * erf(x * sqrt(s)) / (2 * x * sqrt(s)) for x in a])
        return float(np.log(np.trapezoid(a * inner, np.log(a))))

    s = n / log(n)
    return -(log_z(s * 1.001) - log_z(s / 1.001)) / (2 * log(1.001))


@pytest.mark.parametrize(("n", "value"), [(1e3, 0.356), (1e6, 0.424), (1e12, 0.462)])
def test_a_product_approaches_one_half_as_slowly_as_its_multiplicity_says(n, value):
    assert posterior_of_a_product(n) == pytest.approx(value, abs=1e-3)


def test_langevin_samples_the_posterior_of_a_product():
    """Walls at ±1 as a steep well: the same posterior, λ̂ = .356 at n = 1,000, and not the 1 of two regular numbers."""

    def loss(w: torch.Tensor) -> torch.Tensor:
        outside = (w.abs() - 1).clamp(min=0)
        return w.prod().square() + 2 * outside.square().sum()

    how = Langevin(step=2e-3, localisation=0.0, draws=5000, burn_in=500, chains=6)
    found = learning_coefficient(loss, torch.zeros(2, dtype=torch.float64), 1000, how, generator=generator(1))
    assert found.estimate == pytest.approx(posterior_of_a_product(1000), abs=0.12)


def test_what_diverges_says_so_and_misuse_is_refused():
    steep = learning_coefficient(
        lambda x: 1e6 * x.square().sum(), torch.ones(2, dtype=torch.float64), 100,
        Langevin(step=1.0, draws=200, burn_in=100, chains=1), generator=generator(),
    )  # fmt: skip
    assert steep.status == "diverged"
    with pytest.raises(ValueError, match="n >= 2"):
        learning_coefficient(lambda x: x.sum(), torch.zeros(2), 1, Langevin(step=1e-3))
    with pytest.raises(ValueError, match="expected step > 0"):
        Langevin(step=0.0)
    with pytest.raises(ValueError, match="gamma > 0"):
        effective_dimension(torch.ones(2), 0.0)
