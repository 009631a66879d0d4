"""Scores of single layers: exact for deep linear nets, second order elsewhere."""

from __future__ import annotations

import pytest
import torch

from lab.control import adjoint, best_layer_ascent, deep_linear, layer_scores, msa, residual_toy, rollout


def test_exact_for_deep_linear_nets_at_any_step():
    problem, controls = deep_linear(widths=(3, 5, 4, 2), decay=0.1)
    for step in (None, 0.01, 1.0):
        scores = layer_scores(problem, controls, step=step)
        torch.testing.assert_close(scores.predicted, scores.measured, rtol=1e-11, atol=1e-11)


def test_measured_is_the_fall_of_the_cost_when_one_layer_moves():
    problem, controls = deep_linear()
    at = adjoint(problem, controls)
    scores = layer_scores(problem, controls, step=0.02, known=at)
    for t in range(problem.T):
        moved = [u + 0.02 * g if s == t else u for s, (u, g) in enumerate(zip(controls, at.ascent, strict=True))]
        expected = at.trajectory.cost - rollout(problem, moved).cost
        torch.testing.assert_close(scores.measured[t], expected, rtol=1e-10, atol=1e-12)


def test_own_best_step_is_the_best_on_a_grid_for_deep_linear_nets():
    problem, controls = deep_linear()
    best = layer_scores(problem, controls)
    for factor in (0.5, 0.9, 1.1, 2.0):
        for t in range(problem.T):
            other = layer_scores(problem, controls, step=factor * float(best.steps[t]))
            assert other.measured[t] < best.measured[t]


def test_prediction_error_is_of_third_order():
    problem, controls = residual_toy(n_layers=3, n_samples=10)
    errors = []
    for step in (1e-3, 5e-4):
        scores = layer_scores(problem, controls, step=step)
        errors.append((scores.predicted - scores.measured).abs())
    assert bool((errors[1] < errors[0] / 6).all())  # halving the step divides a cubic error by 8


def test_layers_without_control_score_zero():
    problem, controls = deep_linear(widths=(2, 2, 2))
    silent = type(problem)(
        problem.h0,
        (problem.dynamics[0], lambda h, u: 2 * h, problem.dynamics[1]),
        problem.terminal_cost,
        (4, 0, 4),
    )
    scores = layer_scores(silent, [controls[0], torch.zeros(0, dtype=torch.float64), controls[1]])
    assert scores.measured[1] == scores.predicted[1] == scores.curvature[1] == 0
    assert bool((scores.measured[[0, 2]] > 0).all())


def test_the_best_layer_moves_alone_and_j_falls_by_what_was_promised():
    problem, controls = deep_linear()
    scores = layer_scores(problem, controls)
    solution = msa(problem, controls, update=best_layer_ascent(), iterations=1)
    moved = [t for t, (u, v) in enumerate(zip(controls, solution.controls, strict=True)) if not torch.equal(u, v)]
    assert moved == [int(scores.predicted.argmax())]
    before, after = (row["cost"] for row in solution.history)
    torch.testing.assert_close(before - after, float(scores.predicted.max()), rtol=1e-10, atol=1e-12)
    products = [row["products"] for row in solution.history]
    assert products == [0, (problem.T + 1) / 2]  # one with every tail of the chain


def test_a_box_is_refused():
    problem, controls = deep_linear()
    with pytest.raises(ValueError, match=r"chooses among free steps; got the box \(-1\.0, 1\.0\)"):
        msa(problem, controls, update=best_layer_ascent(), iterations=1, box=(-1.0, 1.0))
