"""Costates and Hamiltonian: p_t = −∂J/∂h_t, ∇_u H_t = −∇_{u_t} J, and the residual that vanishes at an optimum."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.func import grad

from lab.control import (
    ControlProblem,
    adjoint,
    costates,
    deep_linear,
    hamiltonian,
    lqr,
    pmp_residual,
    residual_toy,
    rollout,
)
from lab.control.problem import cost_to_go

PROBLEMS = {
    "residual": lambda: residual_toy(n_layers=5, n_samples=7),
    "deep linear": lambda: deep_linear(decay=0.1),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("recursion", [False, True])
def test_costates_are_minus_the_derivative_of_the_cost_in_the_state(name, recursion):
    problem, controls = PROBLEMS[name]()
    trajectory = rollout(problem, controls)
    for t, p in enumerate(costates(problem, trajectory, recursion=recursion)):
        expected = -grad(lambda h, t=t: cost_to_go(problem, t, h, controls[t:]))(trajectory.states[t])
        torch.testing.assert_close(p, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("recursion", [False, True])
def test_a_listener_hears_of_every_backward_sweep(recursion):
    problem, controls = residual_toy(n_layers=3, n_samples=4)
    heard = []
    listened = replace(problem, tell=lambda what, amount: heard.append((what, amount)))
    costates(listened, rollout(listened, controls), recursion=recursion)
    assert heard == [("adjoints", 1)]


@pytest.mark.parametrize("name", PROBLEMS)
def test_hamiltonian_gradient_is_minus_the_cost_gradient(name):
    problem, controls = PROBLEMS[name]()
    at = adjoint(problem, controls)
    back_propagated = grad(lambda phi: rollout(problem, problem.split(phi)).cost)(problem.join(controls))
    torch.testing.assert_close(problem.join(at.ascent), -back_propagated, rtol=1e-13, atol=1e-15)
    for t, u in enumerate(controls):

        def H(u, t=t):
            moved = rollout(problem, controls)
            moved.controls[t] = u
            return hamiltonian(problem, moved, at.costates)[t]

        torch.testing.assert_close(grad(H)(u), at.ascent[t], rtol=1e-12, atol=1e-14)


def test_states_are_the_hamiltonian_derivative_in_the_costate():
    """h_{t+1} = ∂H_t/∂p_{t+1}: H is linear in p, so H(2p) − H(p) = ⟨p, h_{t+1}⟩."""
    problem, controls = residual_toy(n_layers=3, n_samples=4)
    trajectory = rollout(problem, controls)
    p = costates(problem, trajectory)
    assert torch.equal(hamiltonian(problem, trajectory), hamiltonian(problem, trajectory, p))
    gained = hamiltonian(problem, trajectory, [2 * q for q in p]) - hamiltonian(problem, trajectory, p)
    products = torch.stack([(q * h).sum() for q, h in zip(p[1:], trajectory.states[1:], strict=True)])
    torch.testing.assert_close(gained, products, rtol=1e-12, atol=1e-14)


def test_recursion_linearises_where_the_states_are_even_off_the_dynamics(make_system):
    """On LQ problems p_t = Aᵀp_{t+1} − Q h_t at any given states."""
    system = make_system()
    problem = system.problem()
    trajectory = rollout(problem, problem.zero_controls())
    generator = torch.Generator().manual_seed(5)
    for t in range(problem.T + 1):
        trajectory.states[t] = torch.randn(3, generator=generator, dtype=torch.float64)
    p = costates(problem, trajectory, recursion=True)
    torch.testing.assert_close(p[-1], -system.Q_end @ trajectory.states[-1])
    for t in range(problem.T):
        torch.testing.assert_close(p[t], system.A[t].T @ p[t + 1] - system.Q[t] @ trajectory.states[t])


def test_residual_vanishes_at_the_optimum_and_measures_the_gradient_elsewhere(make_system):
    system = make_system()
    problem, optimum = system.problem(), lqr(system).controls
    assert float(pmp_residual(problem, optimum).total) < 1e-11
    controls = [u + 1 for u in optimum]
    at = adjoint(problem, controls)
    residual = pmp_residual(problem, controls, known=at)
    norms = torch.stack([g.norm() for g in at.ascent])
    assert torch.equal(residual.total, pmp_residual(problem, rollout(problem, controls)).total)
    torch.testing.assert_close(residual.absolute, norms)
    torch.testing.assert_close(residual.total, torch.cat(at.ascent).norm())
    torch.testing.assert_close(residual.to_cost, norms / at.trajectory.cost)
    lengths = torch.stack([u.norm() for u in controls])
    torch.testing.assert_close(residual.relative, norms * lengths / at.trajectory.cost)


def test_in_a_box_what_points_out_of_it_does_not_count():
    problem, controls = deep_linear(widths=(1, 1), n_samples=1)
    (ascent,) = adjoint(problem, controls).ascent
    u = float(controls[0])
    at_upper, at_lower = (u - 1, u), (u, u + 1)
    blocking, free = (at_upper, at_lower) if float(ascent) > 0 else (at_lower, at_upper)
    assert float(pmp_residual(problem, controls, box=blocking).total) == 0.0
    assert float(pmp_residual(problem, controls, box=free).total) == abs(float(ascent))


def test_stages_that_ignore_their_state_cut_the_costates():
    problem, controls = deep_linear()
    constant = torch.ones(16, 4, dtype=torch.float64)
    deaf = type(problem)(
        problem.h0,
        (problem.dynamics[0], lambda h, u: constant, problem.dynamics[2]),
        problem.terminal_cost,
        problem.sizes,
    )
    at = adjoint(deaf, controls)
    assert not at.costates[1].any()
    assert not at.ascent[0].any()
    assert at.costates[2].any()


def test_misuse():
    problem, controls = deep_linear()
    with pytest.raises(ValueError, match=r"needs costates p_0 … p_T \(4 of them\); got 3"):
        hamiltonian(problem, rollout(problem, controls), [controls[0]] * 3)


def test_a_stage_that_hands_its_state_or_control_on_has_costates_of_its_own():
    """f_0 = u, f_1 = h, R = ½u² + ½h², ℓ = −3h at h_0 = 5, u_0 = 2: p_2 = 3, p_1 = 3 − h_1 = 1, p_0 = −h_0."""
    one = torch.ones(1, dtype=torch.float64)
    problem = ControlProblem(
        5 * one, (lambda h, u: u, lambda h, u: h), lambda h: -3 * h.sum(), (1, 1),
        (lambda h, u: (u.square() + h.square()).sum() / 2,) * 2,
    )  # fmt: skip
    at = adjoint(problem, [2 * one, 7 * one])
    assert [float(p) for p in at.costates] == [-5, 1, 3]
    assert [float(g) for g in at.ascent] == [-1, -7]
    assert [float(p) for p in costates(problem, at.trajectory, recursion=True)] == [-5, 1, 3]


def test_without_directional_convexity_an_optimal_control_may_minimise_the_hamiltonian():
    """f(u) = (u, −u²), ℓ = h₂ + 2h₁²: J = u² is least at 0, p_1 = (0, −1), and H(u) = u² is least there too."""

    def f(h: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return torch.cat([u, -u.square()])

    problem = ControlProblem(torch.zeros(2).double(), (f,), lambda h: h[1] + 2 * h[0].square(), (1,))
    at = adjoint(problem, problem.zero_controls())
    assert [float(p) for p in at.costates[1]] == [0, -1]
    assert float(pmp_residual(problem, problem.zero_controls(), known=at).total) == 0  # stationary
    for u in (-1.0, -0.1, 0.1, 1.0):
        moved = rollout(problem, [torch.tensor([u], dtype=torch.float64)])
        H = hamiltonian(problem, replace(moved, states=[problem.h0, moved.end]), at.costates)
        assert float(moved.cost) == pytest.approx(u**2)  # so 0 is the optimum
        assert float(H) == pytest.approx(u**2)  # and makes H least
    assert float(at.trajectory.cost) == float(hamiltonian(problem, at.trajectory, at.costates)) == 0


def test_where_f_is_affine_in_u_and_r_convex_an_optimal_control_maximises_the_hamiltonian(make_system):
    """Then f_t(h, U) is directionally convex, as Halkin 1966 asks; here at every time of an LQR."""
    system = make_system()
    problem = system.problem()
    at = adjoint(problem, lqr(system).controls)
    best = hamiltonian(problem, at.trajectory, at.costates)
    generator = torch.Generator().manual_seed(0)
    for scale in (0.01, 1.0, 100.0):
        others = [u + scale * torch.randn(u.shape, generator=generator).double() for u in at.trajectory.controls]
        H = hamiltonian(problem, replace(at.trajectory, controls=others), at.costates)
        assert bool((best > H).all())
