"""Ranks from scores: known answers, brute force, and a survey against dense derivatives."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.func import grad
from torch.nn.functional import cross_entropy

from lab.control import (
    adjoint,
    allocate,
    deep_linear,
    gauss_newton_falls,
    layer_scores,
    layerwise,
    logarithmic_gains,
    plan,
    promised_fall,
    recommend,
    spectral_gains,
    survey,
    water_filling,
)
from lab.deltas import Adapter, BitFit, LoRA
from lab.models.tiny import tiny_plm


def float64(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_water_filling_by_hand():
    one = float64(1, 1, 1)
    torch.testing.assert_close(water_filling(float64(6, 3, 1), one, 7), float64(5, 2, 0))
    torch.testing.assert_close(water_filling(float64(6, 3, 1), one, 1), float64(1, 0, 0))
    torch.testing.assert_close(water_filling(float64(1, 6, 3), one, 7), float64(0, 5, 2))  # in any order of sites


def test_water_filling_spends_the_budget_and_levels_the_marginal_gains():
    generator = torch.Generator().manual_seed(0)
    scores, costs = torch.rand(2, 9, generator=generator, dtype=torch.float64) + 0.05
    for budget in (0.1, 1.0, 30.0):
        ranks = water_filling(scores, costs, budget)
        assert float(ranks @ costs) == pytest.approx(budget, rel=1e-12)
        marginal = scores / (1 + ranks) / costs
        active = ranks > 0
        torch.testing.assert_close(marginal[active], marginal[active].max().expand(int(active.sum())))
        assert bool((marginal[~active] <= marginal.max() + 1e-12).all())


def test_a_large_budget_is_shared_in_proportion_to_the_scores():
    ranks = water_filling(float64(4, 2, 1), float64(1, 1, 1), 7e9)
    torch.testing.assert_close(ranks / ranks[2], float64(4, 2, 1), rtol=1e-8, atol=0)


def test_equal_costs_give_the_best_of_all_allocations():
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        increments = torch.rand(3, 4, generator=generator, dtype=torch.float64).sort(dim=1, descending=True).values
        gains = torch.cat([torch.zeros(3, 1, dtype=torch.float64), increments.cumsum(1)], dim=1)
        for budget in (1, 5, 9):
            best = max(
                sum(float(gains[i, r]) for i, r in enumerate(ranks))
                for ranks in product(range(5), repeat=3)
                if sum(ranks) <= budget
            )
            found = allocate(increments, [1, 1, 1], budget)
            assert found.gain == pytest.approx(best, rel=1e-12)
            assert found.cost == sum(found.ranks) == budget


def test_unequal_costs_fall_short_by_less_than_one_increment():
    generator = torch.Generator().manual_seed(2)
    costs = [3, 5, 7]
    increments = torch.rand(3, 4, generator=generator, dtype=torch.float64).sort(dim=1, descending=True).values
    gains = torch.cat([torch.zeros(3, 1, dtype=torch.float64), increments.cumsum(1)], dim=1)
    for budget in (6, 17, 40):
        feasible = [
            r for r in product(range(5), repeat=3) if sum(c * x for c, x in zip(costs, r, strict=True)) <= budget
        ]
        best = max(sum(float(gains[i, r]) for i, r in enumerate(ranks)) for ranks in feasible)
        found = allocate(increments, costs, budget)
        assert best - float(increments.max()) < found.gain <= best + 1e-12
        assert found.cost <= budget


def test_whole_ranks_stay_within_one_of_the_real_optimum():
    scores = float64(6.2, 3.1, 1.3, 0.2)
    real = water_filling(scores, torch.ones(4).double(), 12)
    whole = allocate(logarithmic_gains(scores, 20), [1] * 4, 12)
    assert bool((torch.tensor(whole.ranks) - real).abs().max() < 1)


def test_everything_is_bought_when_the_budget_allows():
    found = allocate(float64((2, 1), (3, 0)), [1, 1], 100)
    assert found.ranks == (2, 2)
    assert (found.gain, found.level) == (6.0, 0.0)
    assert allocate(float64((2, 1), (3, 0)), [5, 5], 4).ranks == (0, 0)


def test_spectral_gain_is_the_best_fall_of_a_rank_r_change():
    """max over rank ≤ r of ⟨G, X⟩ − ‖X‖²/(2η), against the maximiser and random rank-r matrices."""
    generator = torch.Generator().manual_seed(3)
    G = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    U, S, Vh = torch.linalg.svd(G, full_matrices=False)
    eta = 0.3
    gains = spectral_gains([S], float64(eta))[0].cumsum(0)

    def fall(X):
        return float((G * X).sum() - X.square().sum() / (2 * eta))

    for r in range(1, 5):
        best = eta * (U[:, :r] * S[:r]) @ Vh[:r]
        assert float(gains[r - 1]) == pytest.approx(fall(best), rel=1e-12)
        for _ in range(50):
            L, R = (torch.randn(n, r, generator=generator, dtype=torch.float64) for n in (5, 4))
            assert fall(best + 0.1 * L @ R.mT) <= fall(best) + 1e-12 or r < 4
            direction = L @ R.mT
            step = eta * (G * direction).sum() / direction.square().sum()
            assert fall(step * direction) <= float(gains[r - 1])


@pytest.mark.parametrize(
    ("increments", "costs", "message"),
    [
        (((1.0, 2.0),), [1], "not increasing in the rank"),
        (((1.0, -2.0),), [1], "not negative"),
        (((float("nan"), 0.0),), [1], "must be finite"),
        (((1.0, 0.5),), [1, 1], "got 2 costs for increments of shape"),
        (((1.0, 0.5),), [0], "one positive cost per site"),
    ],
)
def test_gains_that_are_not_concave_and_costs_that_do_not_fit_are_refused(increments, costs, message):
    with pytest.raises(ValueError, match=message):
        allocate(float64(*increments), costs, 3)


@pytest.fixture(scope="module")
def surveyed():
    plm = tiny_plm("bert", num_labels=2)
    batch = dict(plm.tokenizer(["a good film", "a very bad one indeed"], padding=True, return_tensors="pt"))
    return plm, batch | {"labels": torch.tensor([0, 1])}


def test_survey_equals_dense_derivatives(surveyed):
    plm, batch = surveyed
    found = survey(plm, batch, cross_entropy, n_samples=2)
    assert [(m.block, m.role) for m in found.matrices] == [(0, "query"), (0, "value"), (1, "query"), (1, "value")]

    def loss(changes):
        return cross_entropy(plm.logits({n: plm.parameters[n] + x for n, x in changes.items()}, batch), batch["labels"])

    zero = {m.name: torch.zeros(m.shape, dtype=torch.float64) for m in found.matrices}
    gradient = grad(loss)(zero)
    for m in found.matrices:
        torch.testing.assert_close(
            found.spectra[m.label], torch.linalg.svdvals(gradient[m.name]), rtol=1e-9, atol=1e-12
        )
    for block in (0, 1):
        slope = sum(float(gradient[m.name].square().sum()) for m in found.matrices if m.block == block)
        assert float(found.kernel[block]) == pytest.approx(slope, rel=1e-10)
        best = found.steps[block] * found.kernel[block] / 2  # of a positive curvature: ½ η‖g‖²
        assert float(found.layer_score[block]) == pytest.approx(float(best), rel=1e-9)
    assert bool((found.gramian > 0).all())


@pytest.mark.parametrize("rule", ["gramian", "kernel", "layer score", "spectrum"])
def test_a_plan_is_a_lora_within_the_budget(surveyed, rule):
    plm, batch = surveyed
    found = survey(plm, batch, cross_entropy, n_samples=2)
    bought = plan(found, rule, budget=200)
    delta = LoRA(rank=bought.ranks, head="frozen").on(plm)
    assert delta.size == bought.cost == 192  # six ranks of 32 parameters


def test_unknown_rules_and_tiny_budgets_are_refused(surveyed):
    plm, batch = surveyed
    found = survey(plm, batch, cross_entropy, n_samples=1)
    with pytest.raises(ValueError, match="unknown rule 'magic'; choose one of"):
        plan(found, "magic", 100)
    with pytest.raises(ValueError, match="a budget of 31 parameters buys no rank; the cheapest costs 32"):
        plan(found, "gramian", 31)


def test_falls_are_the_layer_scores_of_deep_linear_nets():
    """There J is a quadratic in each layer alone, and Gauss–Newton is its Hessian."""
    problem, controls = deep_linear(widths=(3, 5, 4, 2))
    falls, steps = gauss_newton_falls(problem, adjoint(problem, controls))
    scores = layer_scores(problem, controls)
    torch.testing.assert_close(falls, scores.measured, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(steps, scores.steps, rtol=1e-10, atol=1e-12)


def test_a_silent_layer_promises_nothing():
    problem, controls = deep_linear(widths=(2, 2, 2))
    dynamics = (problem.dynamics[0], lambda h, u: 2 * h, problem.dynamics[1])
    silent = type(problem)(problem.h0, dynamics, problem.terminal_cost, (4, 0, 4))
    at = adjoint(silent, [controls[0], torch.zeros(0, dtype=torch.float64), controls[1]])
    falls, steps = gauss_newton_falls(silent, at)
    assert falls[1] == steps[1] == 0
    assert bool((falls[[0, 2]] > 0).all())


def test_promised_fall_sums_the_blocks_and_leaves_the_head_out(surveyed):
    plm, batch = surveyed
    delta = LoRA(rank=2).on(plm)
    problem = layerwise(delta, batch, cross_entropy)
    falls, _ = gauss_newton_falls(problem, adjoint(problem, problem.split(delta.phi0)))
    assert problem.names == ("block 0", "block 1", "readout")
    promised = promised_fall(delta, batch, cross_entropy)
    assert promised == pytest.approx(float(falls[:2].sum()), rel=1e-12)
    assert 0 < promised < float(falls.sum())


def test_a_recommendation_is_the_best_promise_within_the_budget(surveyed):
    plm, batch = surveyed
    candidates = {"LoRA": LoRA(rank=2), "BitFit": BitFit(), "large": Adapter(bottleneck=16)}
    found = recommend(plm, candidates, batch, cross_entropy, budget=600, rule="kernel")
    assert set(found.promises) == {"LoRA", "BitFit"}
    best = max(found.promises, key=lambda name: found.promises[name])
    for name, promise in found.promises.items():
        assert promise == pytest.approx(promised_fall(candidates[name].on(plm), batch, cross_entropy), rel=1e-12)
    assert isinstance(found.method, type(candidates[best]))


def test_a_recommended_lora_has_the_planned_ranks(surveyed):
    plm, batch = surveyed
    found = recommend(plm, {"LoRA": LoRA(rank=2)}, batch, cross_entropy, budget=256, rule="kernel")
    expected = plan(survey(plm, batch, cross_entropy), "kernel", 256)
    assert found.method == LoRA(rank=expected.ranks)
    assert found.allocation == expected


def test_a_recommendation_needs_a_candidate_that_fits(surveyed):
    plm, batch = surveyed
    with pytest.raises(ValueError, match=r"no candidate fits a budget of 10 parameters; they have .*LoRA"):
        recommend(plm, {"LoRA": LoRA(rank=2)}, batch, cross_entropy, budget=10)
