"""Successive approximations: MSA is back-propagation, E-MSA solves LQR and learns the paper's toy, signs fill boxes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.func import grad

from lab.control import (
    ControlProblem,
    Status,
    adjoint,
    augmented_maximization,
    deep_linear,
    extended_msa,
    full_maximization,
    gradient_ascent,
    linear_quadratic,
    lqr,
    msa,
    optimizer_ascent,
    pmp_residual,
    residual_toy,
    rollout,
    sign_ascent,
)


def gentle_system():
    """A double integrator with small steps: plain maximisation of H converges on it."""
    A = torch.tensor([[1.0, 0.1], [0.0, 1.0]], dtype=torch.float64)
    B, eye = torch.tensor([[0.0], [0.1]], dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    return linear_quadratic(A, B, 0.1 * eye, 1.0, eye, torch.tensor([1.0, 0.0], dtype=torch.float64), T=6)


def largest_error(controls, expected) -> float:
    return max(float((u - v).abs().max()) for u, v in zip(controls, expected, strict=True))


def test_gradient_ascent_on_h_is_gradient_descent_by_back_propagation():
    """Ten steps of each, bit for bit the same controls."""
    problem, controls = residual_toy(n_layers=6, n_samples=10)
    solution = msa(problem, controls, update=gradient_ascent(0.05), iterations=10)
    phi = problem.join(controls)
    for _ in range(10):
        x = phi.clone().requires_grad_()
        rollout(problem, problem.split(x)).cost.backward()
        phi = phi - 0.05 * x.grad
    assert torch.equal(problem.join(solution.controls), phi)
    assert solution.status is Status.ITERATION_LIMIT
    assert [row["iteration"] for row in solution.history] == list(range(11))


def test_an_optimizer_raises_h_as_it_lowers_j():
    """AdamW on ∇_u H is AdamW on J by back-propagation, bit for bit; every iteration is one pass over the chain."""
    problem, controls = residual_toy(n_layers=6, n_samples=10)
    adamw = optimizer_ascent(lambda params: torch.optim.AdamW(params, lr=0.01))
    solution = msa(problem, controls, update=adamw, iterations=5)
    phi = problem.join(controls).clone().requires_grad_()
    optimizer = torch.optim.AdamW([phi], lr=0.01)
    for _ in range(5):
        (phi.grad,) = torch.autograd.grad(rollout(problem, problem.split(phi)).cost, phi)
        optimizer.step()
    assert torch.equal(problem.join(solution.controls), phi)
    assert [row["passes"] for row in solution.history] == [1, 2, 3, 4, 5, 6]


def test_two_runs_on_one_problem_count_for_themselves():
    problem, controls = residual_toy(n_layers=3, n_samples=4)
    runs = [msa(problem, controls, update=gradient_ascent(0.1), iterations=2) for _ in range(2)]
    for run in runs:
        assert [(row["adjoints"], row["passes"]) for row in run.history] == [(1, 1), (2, 2), (3, 3)]


def test_inner_maximisation_counts_as_passes():
    """One L-BFGS iteration evaluates every stage at least once beyond the adjoint's own pass."""
    problem, controls = residual_toy(n_layers=3, n_samples=4)
    passes = [row["passes"] for row in extended_msa(problem, controls, iterations=2, inner_iterations=3).history]
    assert passes[0] == 1
    assert all(after - before > 3 for before, after in pairwise(passes))


@pytest.mark.parametrize("rho", [0.01, 1.0])
@pytest.mark.parametrize("growth", [1.0, 2.0])
def test_extended_msa_solves_lqr(rho, growth):
    system = gentle_system()
    problem = system.problem()
    solution = extended_msa(problem, problem.zero_controls(), rho=rho, growth=growth, tolerance=1e-12)
    assert solution.converged
    assert largest_error(solution.controls, lqr(system).controls) < 1e-10
    assert solution.cost == pytest.approx(float(lqr(system).cost), rel=1e-12)


def test_extended_msa_with_safeguard_solves_a_hard_lqr(make_system):
    """On a random unstable system plain maximisation of H overshoots; growing ρ undoes what raised J."""
    problem = make_system(T=3).problem()
    plain = msa(problem, problem.zero_controls(), update=full_maximization(20), iterations=5)
    assert plain.cost > 1e3 * plain.history[0]["cost"]
    safe = extended_msa(problem, problem.zero_controls(), iterations=30)
    costs = [row["cost"] for row in safe.history]
    assert all(after <= before for before, after in pairwise(costs))
    assert not all(row["accepted"] for row in safe.history)
    optimum = float(lqr(make_system(T=3)).cost)
    assert costs[-1] - optimum < 1e-2 * (costs[0] - optimum)


def test_full_maximization_without_running_cost_of_the_state_is_exact_in_one_layer():
    """T = 1: H(u) = ⟨p, Bu⟩ − ½uᵀRu is maximal at u = R⁻¹Bᵀp."""
    system = linear_quadratic(1, 2, 1, 4, 1, 1.0, T=1)
    problem = system.problem()
    at = adjoint(problem, [torch.tensor([0.3], dtype=torch.float64)])
    (u,) = full_maximization()(problem, at)
    assert float(u) == pytest.approx(2 * float(at.costates[1]) / 4, abs=1e-12)


def test_extended_msa_in_a_box_ends_where_the_projected_residual_vanishes():
    """LQR with |u| ≤ 0.05: some controls lie at a bound, where ∇_uH points outwards; the others are stationary."""
    problem = gentle_system().problem()
    box = (-0.05, 0.05)
    solution = extended_msa(problem, problem.zero_controls(), box=box, iterations=200, tolerance=1e-9)
    assert solution.converged
    u = problem.join(solution.controls)
    assert 0 < int((u.abs() == 0.05).sum()) < len(u)
    assert float(pmp_residual(problem, solution.controls, box=box).total) <= 1e-9
    assert float(pmp_residual(problem, solution.controls).total) > 1e-3


M, c = torch.tensor([[2.0, 1.8], [1.8, 2.0]], dtype=torch.float64), torch.tensor([3.0, 1.0], dtype=torch.float64)
IN_THE_BOX = torch.tensor([1.0, -0.4], dtype=torch.float64)  # ∂H/∂u_2 = 1 − 1.8 − 2u_2 = 0 at u_1 = 1


def coupled_problem() -> ControlProblem:
    """One stage, f = u, −ℓ − R = cᵀu − ½uᵀMu: H is that function up to a constant, and J its negative."""
    return ControlProblem(
        torch.zeros(2, dtype=torch.float64), (lambda h, u: u,), lambda h: -c @ h, (2,), (lambda h, u: u @ M @ u / 2,)
    )


@pytest.mark.parametrize("start", [(0.0, 0.0), (1.0, -1.0), (-1.0, 1.0), (7.0, 7.0)])
def test_a_coupled_hamiltonian_is_maximal_inside_the_box_not_at_the_clipped_maximiser(start):
    """M = [[2, 1.8], [1.8, 2]], c = (3, 1): free (5.53, −4.47), clipped (1, −1), over [−1, 1]²: (1, (1 − 1.8)/2)."""
    problem, box = coupled_problem(), (-1.0, 1.0)
    at = adjoint(problem, [torch.tensor(start, dtype=torch.float64)])
    (u,) = full_maximization(20)(problem, at, box)
    torch.testing.assert_close(u, IN_THE_BOX, rtol=0, atol=1e-12)
    (free,) = full_maximization(20)(problem, at)
    torch.testing.assert_close(free, torch.linalg.solve(M, c), rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    "solve",
    [
        lambda problem, start, box: msa(problem, start, update=full_maximization(20), box=box, iterations=2),
        lambda problem, start, box: extended_msa(problem, start, box=box, iterations=200, tolerance=1e-10),
        lambda problem, start, box: msa(problem, start, update=gradient_ascent(0.3), box=box, iterations=200),
    ],
    ids=["msa", "e-msa", "projected gradient"],
)
def test_solvers_end_at_the_maximiser_over_the_box(solve):
    problem, box = coupled_problem(), (-1.0, 1.0)
    solution = solve(problem, problem.zero_controls(), box)
    assert solution.converged
    torch.testing.assert_close(solution.controls[0], IN_THE_BOX, rtol=0, atol=1e-8)


def test_an_optimizer_stays_in_the_box_and_goes_on_from_its_border():
    """SGD, clipped at every step, is projected gradient descent."""
    problem, controls = deep_linear()
    sgd = optimizer_ascent(lambda params: torch.optim.SGD(params, lr=0.05))
    clipped = msa(problem, controls, update=sgd, iterations=5, box=(-0.3, 0.3))
    projected = msa(problem, controls, update=gradient_ascent(0.05), iterations=5, box=(-0.3, 0.3))
    assert largest_error(clipped.controls, projected.controls) < 1e-14


def test_fixed_points_of_extended_msa_are_the_points_of_the_maximum_principle():
    system = gentle_system()
    problem = system.problem()
    moved = augmented_maximization(1.0)(problem, adjoint(problem, lqr(system).controls))
    assert largest_error(moved, lqr(system).controls) < 1e-12


def test_extended_msa_learns_the_toy_of_the_paper_faster_than_gradient_descent():
    """Li, Chen, Tai & E 2017: T = 20, width 5, step ¼, ρ = 1; here 30 samples and 6 iterations."""
    problem, controls = residual_toy(n_samples=30)
    extended = extended_msa(problem, controls, iterations=6)
    descent = msa(problem, controls, update=gradient_ascent(0.1), iterations=6)
    assert extended.cost < 0.3 < 0.5 < descent.cost


def test_rho_schedule_and_decay_are_recorded():
    problem = gentle_system().problem()
    solution = extended_msa(problem, problem.zero_controls(), rho=lambda k: 1.0 + k, iterations=3, tolerance=0.0)
    assert [row["rho"] for row in solution.history] == [1.0, 1.0, 2.0, 3.0]
    decayed = extended_msa(problem, problem.zero_controls(), rho=4.0, decay=0.5, iterations=3, tolerance=0.0)
    assert [row["rho"] for row in decayed.history] == [4.0, 4.0, 2.0, 1.0]


def test_sign_ascent_steps_by_the_radius_and_stays_in_the_box():
    problem, controls = deep_linear()
    at = adjoint(problem, controls)
    stepped = sign_ascent(0.1)(problem, at)
    for u, v, g in zip(controls, stepped, at.ascent, strict=True):
        torch.testing.assert_close(v - u, 0.1 * g.sign(), rtol=0, atol=1e-15)
    boxed = msa(problem, controls, update=sign_ascent(10.0), iterations=1, box=(-0.5, 0.5))
    for v, g in zip(boxed.controls, at.ascent, strict=True):
        assert torch.equal(v, 0.5 * g.sign())  # bang-bang: every coordinate at the bound its gradient points to


def test_bang_bang_is_optimal_where_the_cost_is_linear():
    """Minimum-time-like problem: ℓ = −position; the best force is the upper bound throughout."""
    system = linear_quadratic(1, 1, 0, 0, 0, 0.0, T=4)
    problem = system.problem()
    problem = type(problem)(problem.h0, problem.dynamics, lambda h: -h.sum(), problem.sizes)
    solution = msa(problem, problem.zero_controls(), update=sign_ascent(5.0), iterations=3, box=(-1.0, 1.0))
    assert solution.converged  # nothing admissible raises H any more
    assert [float(u) for u in solution.controls] == [1.0] * 4


def test_gradient_ascent_in_a_box_is_projected_gradient_descent():
    problem, controls = deep_linear()
    solution = msa(problem, controls, update=gradient_ascent(0.05), iterations=1, box=(-0.3, 0.3))
    gradient = problem.split(grad(lambda phi: rollout(problem, problem.split(phi)).cost)(problem.join(controls)))
    for u, v, g in zip(controls, solution.controls, gradient, strict=True):
        torch.testing.assert_close(v, (u - 0.05 * g).clamp(-0.3, 0.3), rtol=1e-13, atol=1e-15)


def test_divergence_is_a_status_with_the_last_finite_controls():
    problem, controls = deep_linear()
    solution = msa(problem, controls, update=gradient_ascent(1e80), iterations=20)
    assert solution.status is Status.NOT_FINITE
    assert "lower the step" in solution.status
    assert all(torch.isfinite(u).all() for u in solution.controls)
    wild = extended_msa(problem, [1e200 * u for u in controls], growth=1.0, iterations=3)
    assert wild.status is Status.NOT_FINITE


def test_misuse():
    problem, controls = deep_linear()
    with pytest.raises(ValueError, match="rho weighs a penalty and must be >= 0; got -1"):
        augmented_maximization(-1.0)
    with pytest.raises(ValueError, match="rho must be > 0; got 0"):
        extended_msa(problem, controls, rho=0.0)
    with pytest.raises(ValueError, match=r"growth >= 1 and 0 < decay <= 1; got growth=0\.5"):
        extended_msa(problem, controls, growth=0.5)
