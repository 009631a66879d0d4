"""Second-order solvers: exact on LQR in one step by three routes, descent and statuses elsewhere."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
import torch
from torch.func import grad, hessian

from lab.control import (
    ControlProblem,
    Status,
    control_gauss_newton,
    deep_linear,
    gauss_newton_cg,
    ilqr,
    lqr,
    pmp_residual,
    residual_toy,
    riccati,
    rollout,
)
from lab.control.riccati import feedback_rollout, riccati_sweep

DIRECTIONS = {
    "riccati": riccati(),
    "ddp": riccati(ddp=True),
    "cg": gauss_newton_cg(iterations=60, tolerance=1e-14),
}


@pytest.mark.parametrize("name", DIRECTIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_one_step_solves_lqr_from_anywhere(make_system, name, seed):
    system = make_system(seed=seed)
    problem = system.problem()
    generator = torch.Generator().manual_seed(seed)
    start = [torch.randn(2, generator=generator, dtype=torch.float64) for _ in range(problem.T)]
    solution = ilqr(problem, start, direction=DIRECTIONS[name], iterations=1, tolerance=1e-8)
    assert solution.converged
    assert solution.iterations == 1
    for ours, exact in zip(solution.controls, lqr(system).controls, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-10)


def test_sweep_gains_are_the_riccati_gains(make_system):
    system = make_system()
    problem = system.problem()
    sweep = riccati_sweep(problem, rollout(problem, problem.zero_controls()))
    torch.testing.assert_close(torch.stack(sweep.K), -lqr(system).K, rtol=1e-10, atol=1e-12)


def test_the_model_foretells_the_fall_of_the_cost_on_lqr(make_system):
    problem = make_system().problem()
    trajectory = rollout(problem, problem.zero_controls())
    sweep = riccati_sweep(problem, trajectory)
    optimum = lqr(make_system()).cost
    torch.testing.assert_close(trajectory.cost + sweep.slope + sweep.bend / 2, optimum, rtol=1e-11, atol=0)


@pytest.mark.parametrize("damping", [0.0, 1e-6, 1e-3, 0.1, 1.0, 30.0, 1e6])
@pytest.mark.parametrize("system", ["lqr", "deep linear", "tanh"])
def test_the_damped_sweep_is_the_dense_damped_newton_step(make_system, system, damping):
    """δu = −(H + μI)⁻¹∇J, slope = ∇Jᵀδu, bend = δuᵀHδu, H = JᵀC J of all controls together."""
    problem, controls = {
        "lqr": lambda: (make_system().problem(), make_system().problem().zero_controls()),
        "deep linear": lambda: deep_linear(decay=0.3),
        "tanh": lambda: residual_toy(n_layers=3, width=2, n_samples=4, regularization=0.3),
    }[system]()
    sweep = riccati_sweep(problem, rollout(problem, controls), damping=damping)
    g = grad(lambda x: rollout(problem, problem.split(x)).cost)(problem.join(controls))
    H = control_gauss_newton(problem, controls).to_dense()
    dense = -torch.linalg.solve(H + damping * torch.eye(len(g), dtype=g.dtype), g)
    step = problem.join(sweep.direction)
    # both solve one system: what is left is its condition times rounding
    tolerance = 1e-14 * max(1.0, float(torch.linalg.cond(H + damping * torch.eye(len(g), dtype=g.dtype))) / 30)
    assert float((step - dense).norm() / dense.norm()) < tolerance
    assert float(sweep.slope) == pytest.approx(float(g @ dense), rel=10 * tolerance)
    assert float(sweep.bend) == pytest.approx(float(dense @ H @ dense), rel=1e-9)


@pytest.mark.parametrize("ddp", [False, True])
@pytest.mark.parametrize("damping", [10.0, 50.0])
def test_slope_is_the_derivative_of_j_along_the_feedback_rollout(ddp, damping):
    """(J(ε) − J(−ε))/2ε along the controls that the line search tries."""
    problem, controls = residual_toy(n_layers=3, width=2, n_samples=4, regularization=0.3)
    at = rollout(problem, controls)
    sweep = riccati_sweep(problem, at, damping=damping, ddp=ddp)

    def J(alpha: float) -> float:
        return float(rollout(problem, feedback_rollout(problem, at, sweep, alpha)).cost)

    eps = 1e-4
    assert float(sweep.slope) == pytest.approx((J(eps) - J(-eps)) / (2 * eps), rel=1e-6)


def test_gauss_newton_is_the_hessian_for_linear_dynamics(make_system):
    problem = make_system().problem()
    phi = problem.join(problem.zero_controls())
    exact = hessian(lambda x: rollout(problem, problem.split(x)).cost)(phi)
    torch.testing.assert_close(
        control_gauss_newton(problem, problem.zero_controls()).to_dense(), exact, rtol=1e-10, atol=1e-10
    )


def test_gauss_newton_leaves_out_the_curvature_of_the_dynamics_only():
    """Where the residual of a least-squares cost vanishes, that curvature has no weight: both agree."""
    problem, controls = deep_linear()
    reached = rollout(problem, controls).end
    solved = ControlProblem(
        problem.h0, problem.dynamics, lambda h: (h - reached).square().sum() / 2, problem.sizes, problem.running_costs
    )
    exact = hessian(lambda x: rollout(solved, solved.split(x)).cost)(solved.join(controls))
    torch.testing.assert_close(control_gauss_newton(solved, controls).to_dense(), exact, rtol=1e-9, atol=1e-9)
    unsolved = hessian(lambda x: rollout(problem, problem.split(x)).cost)(problem.join(controls))
    assert not torch.allclose(control_gauss_newton(problem, controls).to_dense(), unsolved, rtol=1e-3)


def test_ddp_knows_the_curvature_of_the_dynamics():
    """One stage, f = u², ℓ = (h − 1)²: at u = ½ the true second derivative is 12u² − 4 = −1, Gauss–Newton's 8u² = 2."""
    problem = ControlProblem(
        torch.zeros(1, dtype=torch.float64), (lambda h, u: u.square(),), lambda h: (h - 1).square().sum(), (1,)
    )
    at = rollout(problem, [torch.tensor([0.5], dtype=torch.float64)])
    assert riccati_sweep(problem, at, ddp=True) is None  # −1 is not positive: damping is needed
    damped = riccati_sweep(problem, at, damping=3.0, ddp=True)
    assert float(damped.k[0]) == pytest.approx(1.5 / 2.0)  # Q_u = 4u(u² − 1) = −1.5
    assert float(riccati_sweep(problem, at).k[0]) == pytest.approx(1.5 / 2.0)  # by chance the same


@pytest.mark.parametrize(
    ("name", "direction", "iterations"),
    [("riccati", riccati(), 12), ("ddp", riccati(ddp=True), 12), ("cg", gauss_newton_cg(), 16)],
)
def test_cost_falls_monotonically_on_the_residual_toy(name, direction, iterations):
    """Four layers cannot bend x into sin x: the least cost lies a little under 6, and all come near it."""
    problem, controls = residual_toy(n_layers=4, width=3, n_samples=10)
    solution = ilqr(problem, controls, direction=direction, iterations=iterations)
    costs = [row["cost"] for row in solution.history]
    assert all(after < before for before, after in pairwise(costs))
    assert costs[-1] < 6.2


def test_converges_to_a_point_of_the_maximum_principle():
    problem, controls = deep_linear(decay=1e-2)
    solution = ilqr(problem, controls, tolerance=1e-9)
    assert solution.converged
    assert float(pmp_residual(problem, solution.controls).total) < 1e-9
    assert ilqr(problem, solution.controls).iterations == 0


def test_a_deep_linear_net_is_solved_to_its_closed_form():
    """Wide enough, the product of all W_t is the map M of Y = X M and J = 0."""
    problem, controls = deep_linear(widths=(3, 4, 4, 2))
    solution = ilqr(problem, controls, damping=1e-2, iterations=200, tolerance=1e-12)
    Y, N = targets_of(problem), len(problem.h0)
    assert solution.cost < 1e-20
    W = [u.reshape(b, a) for u, a, b in zip(solution.controls, (3, 4, 4), (4, 4, 2), strict=True)]
    M = torch.linalg.lstsq(problem.h0, Y).solution
    torch.testing.assert_close(torch.linalg.multi_dot(W[::-1]).mT, M, rtol=0, atol=1e-9)
    assert N > 3  # so that M is unique


def test_a_bottleneck_leaves_what_eckart_and_young_say():
    """J = ½ Σ_{j>r} σ_j(Y)²/N: X P ranges over all matrices of rank r in the column space of X, where Y lies."""
    r = 2
    problem, controls = deep_linear(widths=(5, r, 4))
    solution = ilqr(problem, controls, damping=1e-2, iterations=300, tolerance=1e-10)
    sigma = torch.linalg.svdvals(targets_of(problem))
    least = float(sigma[r:].square().sum()) / (2 * len(problem.h0))
    assert least > 0.01
    assert solution.cost == pytest.approx(least, rel=1e-9)


def targets_of(problem: ControlProblem) -> torch.Tensor:
    """Y of ℓ = ½ mean ‖h_T − Y‖²: −N ∇ℓ(0)."""
    zero = torch.zeros(
        len(problem.h0), problem.sizes[-1] // rollout(problem, problem.zero_controls()).states[-2].shape[1]
    )
    return -len(problem.h0) * grad(problem.terminal_cost)(zero.double())


def test_stages_without_control_are_passed_through(make_system):
    problem = make_system().problem()
    silent = ControlProblem(
        problem.h0,
        (problem.dynamics[0], lambda h, u: 2 * h, problem.dynamics[1]),
        problem.terminal_cost,
        (2, 0, 2),
        (problem.running_costs[0], lambda h, u: h.sum() * 0, problem.running_costs[1]),
    )
    for direction in (riccati(), gauss_newton_cg(iterations=50, tolerance=1e-14)):
        assert ilqr(silent, silent.zero_controls(), direction=direction, iterations=2, tolerance=1e-9).converged


def test_failure_is_a_status():
    problem = ControlProblem(
        torch.zeros(1, dtype=torch.float64), (lambda h, u: h + u,), lambda h: torch.log(h).sum(), (1,)
    )
    solution = ilqr(problem, problem.zero_controls())
    assert solution.status is Status.NOT_FINITE
    stuck = ControlProblem(
        torch.zeros(1, dtype=torch.float64), (lambda h, u: u,), lambda h: h.abs().sum() + h.square().sum(), (1,)
    )
    kink = ilqr(stuck, [torch.tensor([1e-30], dtype=torch.float64)], iterations=60)
    assert kink.status is Status.STALLED
    assert "no step lowered J" in kink.status
    limited = ilqr(*residual_toy(n_layers=2, n_samples=4), iterations=1)
    assert limited.status is Status.ITERATION_LIMIT


def test_every_adjoint_and_product_is_counted_rejected_ones_too(monkeypatch):
    """A direction whose step lengths all fail costs what it costs; the next row of the history holds it."""
    called = {"adjoints": 0, "products": 0}
    module = sys.modules["lab.control.ilqr"]
    true_adjoint, true_solver = module.adjoint, module.conjugate_gradients

    def adjoint(*arguments):
        called["adjoints"] += 1
        return true_adjoint(*arguments)

    def solver(*arguments, **options):
        found = true_solver(*arguments, **options)
        called["products"] += found.iterations + 1  # and one for the model's curvature along the step
        return found

    monkeypatch.setattr(module, "adjoint", adjoint)
    monkeypatch.setattr(module, "conjugate_gradients", solver)
    problem, controls = residual_toy(n_layers=3, width=3, n_samples=6)
    direction = gauss_newton_cg(iterations=5)
    found = ilqr(problem, controls, direction=direction, iterations=8, line_search=1)
    last = found.history[-1]
    assert len(found.history) < 9  # some direction was rejected
    assert last["adjoints"] == called["adjoints"] > len(found.history)
    assert last["products"] == called["products"]
