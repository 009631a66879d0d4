"""Subspace similarity, amplification, intruders with their forecast, extraction: known answers and nulls."""

from __future__ import annotations

from math import inf, isnan, sqrt

import numpy as np
import pytest
import torch

from lab.geometry import (
    amplification,
    extract,
    forecast_intruder,
    intruder_dimensions,
    intruder_sweep,
    intruders_by_strength,
    mitigate,
    subspace_similarity,
)
from lab.geometry.amplification import emphasis
from lab.linalg import LowRank, Spectrum


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(n: int, seed: int) -> torch.Tensor:
    x = gaussian(n, seed=seed)
    return x / x.norm()


# subspace similarity


def test_similarity_known_answers():
    """A = diag(3, 2, 1, 0), B = diag(1, 2, 3, 0): φ(1, 1) = 0, φ(1, 3) = 1, φ(2, 2) = ½, φ(3, 3) = 1."""
    A, B = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0])), torch.diag(torch.tensor([1.0, 2.0, 3.0, 0.0]))
    for side in ("left", "right"):
        found = subspace_similarity(A, B, side=side)
        expected = [[0, 0, 1], [0, 0.5, 1], [1, 1, 1]]
        np.testing.assert_allclose(found.grid, expected, atol=1e-12)
        np.testing.assert_allclose(found.random, np.array([[1, 2, 3], [2, 2, 3], [3, 3, 3]]) / 4)
    table = found.table()
    assert table.query("i == 2 and j == 2")["similarity"].item() == pytest.approx(0.5)
    assert len(table) == 9


def test_similarity_of_a_matrix_with_itself_and_under_the_gauge():
    B, A, G = gaussian(30, 4), gaussian(4, 20, seed=1), gaussian(4, 4, seed=2)
    product, moved = LowRank(B, A), LowRank(B @ torch.linalg.inv(G), G @ A)
    other = LowRank(gaussian(30, 6, seed=3), gaussian(6, 20, seed=4))
    itself = subspace_similarity(product, moved).grid
    np.testing.assert_allclose(itself, np.ones((4, 4)), atol=1e-10)
    np.testing.assert_allclose(
        subspace_similarity(product, other, side="left").grid,
        subspace_similarity(moved, other.to_dense(), side="left").grid,
        atol=1e-10,
    )
    assert subspace_similarity(product, other, max_rank=2).grid.shape == (2, 2)


def test_random_level_is_the_mean_over_random_matrices():
    grids = [
        subspace_similarity(gaussian(40, 3, seed=s), gaussian(40, 5, seed=99 + s), side="left") for s in range(200)
    ]
    mean = np.mean([g.grid for g in grids], axis=0)
    np.testing.assert_allclose(mean, grids[0].random, atol=0.015)  # standard error of φ(1, 1): 0.035/√200


def test_untrained_adapter_has_an_empty_grid():
    assert subspace_similarity(LowRank(torch.zeros(8, 2), gaussian(2, 5)), gaussian(8, 5)).grid.shape == (0, 5)


def test_similarity_refuses():
    with pytest.raises(
        ValueError, match=r"the right singular vectors live in R\^4 and R\^5; compare .* input dimension"
    ):
        subspace_similarity(gaussian(3, 4), gaussian(3, 5))
    with pytest.raises(ValueError, match=r'side must be "left" or "right"'):
        subspace_similarity(gaussian(3, 3), gaussian(3, 3), side="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"build it with Spectrum\.of"):
        subspace_similarity(Spectrum.of(gaussian(3, 3)), gaussian(3, 3))


# amplification


def test_amplification_known_answer():
    """W₀ = diag(4, 3, 1, 0.5), ΔW = 2 on the third direction: onto ΔW 1, onto W₀ 4, factor 2."""
    W0 = torch.diag(torch.tensor([4.0, 3.0, 1.0, 0.5], dtype=torch.float64))
    delta = torch.zeros(4, 4, dtype=torch.float64)
    delta[2, 2] = 2.0
    row = amplification(delta, W0, ranks=(1, 9)).iloc[0]
    assert (row["onto_delta"], row["onto_base"], row["factor"]) == pytest.approx((1.0, 4.0, 2.0))
    assert row["onto_random"] == pytest.approx(float(W0.norm()) / 4)
    table = amplification(delta, W0, ranks=(1, 2, 4))
    assert table["onto_delta"].isna().tolist() == [False, True, True]  # ΔW has rank 1
    assert table["onto_base"].tolist() == pytest.approx([4, 5, sqrt(26.25)])


def test_random_column_of_hu_et_al():
    """Table 7's own numbers: ‖W_q‖ = 61.95, d = 12,288: 0.02 for r = 4 and 0.33 (0.32) for r = 64."""
    assert pytest.approx(0.02, abs=0.001) == 61.95 * 4 / 12288
    assert pytest.approx(0.33, abs=0.01) == 61.95 * 64 / 12288
    W0 = gaussian(60, 40)
    draws = []
    for seed in range(50):
        random = LowRank(gaussian(60, 5, seed=seed), gaussian(5, 40, seed=500 + seed))
        draws.append(amplification(random, W0, ranks=(5,))["onto_delta"].item() ** 2)
    level = amplification(random, W0, ranks=(5,))["onto_random"].item()
    assert sqrt(np.mean(draws)) == pytest.approx(level, rel=0.1)


def test_amplification_is_gauge_invariant_and_zero_safe():
    W0, B, A, G = gaussian(12, 9), gaussian(12, 3), gaussian(3, 9, seed=1), gaussian(3, 3, seed=2)
    one = amplification(LowRank(B, A), W0, ranks=(2, 3))
    two = amplification(LowRank(B @ torch.linalg.inv(G), G @ A), W0, ranks=(2, 3))
    np.testing.assert_allclose(one.to_numpy(), two.to_numpy(), rtol=1e-9)
    zero = amplification(LowRank(0 * B, A), W0, ranks=(2,)).iloc[0]
    assert zero["delta_norm"] == 0
    assert isnan(zero["factor"])
    with pytest.raises(ValueError, match="must have one shape"):
        amplification(W0, W0.T)


# intruders


def planted(theta: float, m: int = 60, n: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    W0 = gaussian(m, n) / sqrt(n)
    return W0, W0 + theta * torch.outer(unit(m, 5), unit(n, 6))


def test_planted_direction_is_the_only_intruder():
    W0, W1 = planted(5.0)
    found = intruder_dimensions(W0, W1, k=5)
    assert 0 in found.indices
    assert found.overlaps[0] < 0.4
    assert abs(float(found.left[:, 0] @ unit(60, 5))) > 0.95
    assert found.values[0] == pytest.approx(float(torch.linalg.svdvals(W1)[0]))
    truth = (torch.linalg.svd(W0).U.T @ torch.linalg.svd(W1).U[:, :5]).abs().max(dim=0)
    np.testing.assert_allclose(found.overlaps, truth.values, atol=1e-10)
    np.testing.assert_array_equal(found.nearest, truth.indices)


def test_no_change_and_rescaling_make_no_intruder():
    W0, _ = planted(0.0)
    assert intruder_dimensions(W0, W0).count == 0
    assert intruder_dimensions(W0, 3 * W0).count == 0
    assert intruder_dimensions(W0, W0 + LowRank(0 * gaussian(60, 2), gaussian(2, 80)).to_dense()).count == 0


def test_large_matrices_by_lanczos_agree(monkeypatch):
    W0, W1 = planted(5.0)
    dense = intruder_dimensions(W0, W1, k=4)
    monkeypatch.setattr("lab.geometry.intruders._DENSE_LIMIT", 10)
    lanczos = intruder_dimensions(W0, W1, k=4)
    np.testing.assert_allclose(lanczos.overlaps, dense.overlaps, atol=1e-6)
    np.testing.assert_allclose(lanczos.values, dense.values, rtol=1e-10)
    np.testing.assert_allclose((lanczos.right * dense.right).sum(dim=0).abs(), np.ones(4), atol=1e-6)


def test_sweep_counts_are_monotone():
    W0, W1 = planted(3.0)
    table = intruder_sweep(W0, W1, ks=(1, 5, 20), epsilons=(0.2, 0.5, 0.9))
    grid = table.pivot_table(index="k", columns="epsilon", values="count").to_numpy()
    assert (np.diff(grid, axis=0) >= 0).all()
    assert (np.diff(grid, axis=1) >= 0).all()
    assert table.query("k == 5 and epsilon == 0.5")["count"].item() == intruder_dimensions(W0, W1, k=5).count


def test_mitigation_lambda_one_keeps_and_zero_removes():
    W0, W1 = planted(5.0)
    found = intruder_dimensions(W0, W1, k=1)
    assert torch.equal(mitigate(W1, found, 1.0), W1)
    removed = mitigate(W1, found, 0.0)
    np.testing.assert_allclose(torch.linalg.svdvals(removed)[:-1], torch.linalg.svdvals(W1)[1:], atol=1e-10)
    assert float((found.left[:, 0] @ removed).norm()) < 1e-10
    half = mitigate(W1, found, 0.5)
    assert float(found.left[:, 0] @ half @ found.right[:, 0]) == pytest.approx(found.values[0] / 2)
    assert torch.equal(mitigate(W0, intruder_dimensions(W0, W0), 0.0), W0)
    with pytest.raises(ValueError, match=r"found in a matrix of shape \(60, 80\); got \(80, 60\)"):
        mitigate(W1.T, found, 0.0)


def first_strength(W0: torch.Tensor, delta: torch.Tensor, about: float, k: int) -> float:
    strengths = np.geomspace(about / 3, about * 3, 67)
    seen = intruders_by_strength(W0, delta, strengths, k=k)
    return float(seen[seen["count"] > 0]["strength"].min())


def heavy(m: int, n: int, seed: int) -> torch.Tensor:
    """Gaussian vectors, values with a slowly decaying head, as in trained weights."""
    U, S, Vh = torch.linalg.svd(gaussian(m, n, seed=seed) / sqrt(n), full_matrices=False)
    return U @ torch.diag(S * (1 + 5 * torch.arange(1, len(S) + 1, dtype=torch.float64) ** -0.7)) @ Vh


@pytest.mark.parametrize("matrix", [lambda m, n, s: gaussian(m, n, seed=s) / sqrt(n), heavy])
@pytest.mark.parametrize(("m", "n", "k"), [(60, 90, 10), (90, 60, 4)])
def test_forecast_against_what_happens(matrix, m, n, k):
    """The aligned forecast is the first intruder seen, to the grid; the one that knows the spectrum alone holds it."""
    ratios, inside = [], []
    for seed in range(4):
        W0 = matrix(m, n, seed)
        delta = 2.0 * torch.outer(unit(m, 50 + seed), unit(n, 80 + seed))
        forecast = forecast_intruder(W0, delta, k=k)
        assert forecast.spike == pytest.approx(2 * forecast.strength)
        seen = first_strength(W0, delta, forecast.strength, k)
        ratios.append(seen / forecast.aligned_strength)
        inside.append(forecast.low * 0.85 < seen < forecast.high * 1.15)
    # strengths are 3.3 % apart, and an intruder that comes and goes between two of them is seen later
    assert np.median(ratios) == pytest.approx(1.0, abs=0.05)
    assert min(ratios) > 0.95
    assert sum(inside) >= 2


def test_forecast_scales_and_orders():
    W0 = gaussian(80, 80) / sqrt(80)
    delta = LowRank(unit(80, 1)[:, None], unit(80, 2)[None, :])
    base = Spectrum.of(W0, vectors=True)
    one, tenth = forecast_intruder(base, delta), forecast_intruder(base, 0.1 * delta.to_dense())
    assert tenth.strength == pytest.approx(10 * one.strength)
    assert tenth.spike == pytest.approx(one.spike)
    assert one.low <= one.strength <= one.high
    assert forecast_intruder(base, 1.0).strength == pytest.approx(one.strength)
    assert isnan(forecast_intruder(base, 1.0).aligned_strength)
    assert forecast_intruder(base, 1.0, epsilon=0.3).strength > one.strength
    assert one.gaussian_spike == pytest.approx(float(W0.norm()) / sqrt(80))
    # the edge is reached near the asymptotic threshold 1, an overlap below ½ a little later
    assert 0.8 < one.spike < 1.6


def test_an_aligned_update_never_intrudes():
    W0 = gaussian(50, 50)
    base = Spectrum.of(W0, vectors=True)
    along = torch.outer(base.left[:, 0], base.right[:, 0])
    assert forecast_intruder(base, along).aligned_strength == inf
    assert intruders_by_strength(W0, along, (1.0, 100.0))["count"].tolist() == [0, 0]


def test_nothing_to_forecast():
    assert forecast_intruder(gaussian(5, 5), 0.0).strength == inf
    assert forecast_intruder(torch.zeros(5, 5), 1.0).strength == inf
    with pytest.raises(ValueError, match="‖ΔW‖₂ must be >= 0"):
        forecast_intruder(gaussian(5, 5), -1.0)
    with pytest.raises(ValueError, match="k and n_draws must be >= 1"):
        forecast_intruder(gaussian(5, 5), 1.0, k=0)


def test_intruders_refuse():
    with pytest.raises(ValueError, match="must be matrices of one shape"):
        intruder_dimensions(gaussian(3, 4), gaussian(4, 3))
    with pytest.raises(ValueError, match=r"k must be >= 1 and epsilon in \(0, 1\]"):
        intruder_dimensions(gaussian(3, 3), gaussian(3, 3), epsilon=0)
    with pytest.raises(ValueError, match="W₁ has 9 non-finite"):
        intruder_dimensions(gaussian(3, 3), torch.full((3, 3), float("nan"), dtype=torch.float64))
    with pytest.raises(ValueError, match="base has no singular vectors"):
        intruder_dimensions(gaussian(3, 3), gaussian(3, 3), base=Spectrum.of(gaussian(3, 3)))
    assert intruder_dimensions(torch.zeros(0, 3), torch.zeros(0, 3)).count == 0


# extraction


def test_extraction_is_eckart_young():
    W = gaussian(20, 14)
    values = torch.linalg.svdvals(W)
    got = extract(W, rank=3)
    assert got.rank == 3
    assert got.factors.left.shape == (20, 3)
    error = float((W - got.factors.to_dense()).norm() / W.norm())
    assert got.relative_error == pytest.approx(error)
    assert error == pytest.approx(float(values[3:].norm() / values.norm()))
    energy = extract(W, energy=0.8)
    assert energy.rank == Spectrum.of(W).energy_rank(0.8)
    assert energy.relative_error**2 <= 0.2 + 1e-12
    assert extract(W, energy=0.99, max_rank=2).rank == 2


@pytest.mark.parametrize("rule", ["hard threshold", "null"])
def test_planted_rank_is_chosen(rule):
    noise = gaussian(100, 150, seed=1)
    signal = 15 * LowRank(gaussian(100, 3, seed=2), gaussian(3, 150, seed=3)).to_dense() / 10
    assert extract(noise + signal, rule=rule).rank == 3
    assert extract(noise, rule=rule).rank == 0
    assert extract(noise, rule=rule).relative_error == 1.0


def test_nothing_to_extract():
    zero = extract(torch.zeros(5, 4), rule="null")
    assert (zero.rank, zero.relative_error) == (0, 0.0)
    assert extract(torch.zeros(5, 0), rule="hard threshold").rank == 0


def test_extraction_refuses():
    W = gaussian(5, 4)
    with pytest.raises(ValueError, match="give exactly one of rank, energy and rule"):
        extract(W)
    with pytest.raises(ValueError, match='rule must be "hard threshold" or "null"'):
        extract(W, rule="elbow")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rank must be in 0 … 4; got 9"):
        extract(W, rank=9)
    with pytest.raises(ValueError, match="needs all 4 singular values; got 2"):
        extract(Spectrum.of(LowRank(gaussian(5, 2), gaussian(2, 4)), vectors=True), rule="null")


def test_emphasis_is_nought_for_random_directions_and_one_for_those_of_the_base():
    """p_W₀ = 100 p_random: a ΔW at p_random, at 10 p_random, at p_W₀."""
    found = [emphasis(onto_random=r, onto_base=r / 100) for r in (1, 10, 100)]
    assert found == pytest.approx([0.0, 0.5, 1.0])
    with pytest.raises(ValueError, match="expected 0 < p_ΔW/p_W₀ < p_ΔW/p_random"):
        emphasis(onto_random=0.5, onto_base=0.6)
