"""Linear-quadratic closed forms: Riccati against hand-derived numbers, and against the two-point boundary problem."""

from __future__ import annotations

import pytest
import torch

from lab.control import double_integrator, linear_quadratic, lqr, rollout, two_point_boundary

FIBONACCI = [1, 3 / 2, 8 / 5, 21 / 13, 55 / 34]


def test_scalar_riccati_runs_through_ratios_of_fibonacci_numbers():
    """a = b = q = r = 1: P ↦ 1 + P/(1 + P), so 1, 3/2, 8/5, 21/13, 55/34, … → (1 + √5)/2 and K = P/(1 + P)."""
    solution = lqr(linear_quadratic(1, 1, 1, 1, 1, 1.0, T=40))
    P = solution.P.flatten().flip(0)
    torch.testing.assert_close(P[:5], torch.tensor(FIBONACCI, dtype=torch.float64), rtol=1e-15, atol=0)
    golden = (1 + 5**0.5) / 2
    assert abs(float(P[-1]) - golden) < 1e-14
    assert abs(float(solution.K[0]) - 1 / golden) < 1e-14


def test_one_step_by_hand():
    """T = 1, h_0 = 1: J = ½(1 + u² + (1 + u)²) is least at u = −½ where J = ¾."""
    solution = lqr(linear_quadratic(1, 1, 1, 1, 1, 1.0, T=1))
    assert float(solution.controls[0]) == pytest.approx(-0.5, abs=1e-15)
    assert float(solution.cost) == pytest.approx(0.75, abs=1e-15)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_riccati_and_two_point_boundary_agree(make_system, seed):
    system = make_system(T=7, n=4, m=2, seed=seed)
    riccati, boundary = lqr(system), two_point_boundary(system)
    scale = max(float(u.abs().max()) for u in riccati.controls)
    for ours, theirs in (
        *zip(riccati.controls, boundary.controls, strict=True),
        *zip(riccati.states, boundary.states, strict=True),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10 * scale)
    for P, h, p in zip(riccati.P, riccati.states, boundary.costates, strict=True):
        torch.testing.assert_close(-P @ h, p, rtol=1e-9, atol=1e-10 * scale)  # p_t = −P_t h_t


def test_predicted_cost_is_the_rolled_out_cost(make_system):
    system = make_system()
    solution = lqr(system)
    cost = rollout(system.problem(), solution.controls).cost
    torch.testing.assert_close(cost, solution.cost, rtol=1e-12, atol=0)


def test_controls_are_optimal(make_system):
    """Any other controls cost more: J is strictly convex, so a random move in each direction must raise it."""
    system = make_system()
    solution, problem = lqr(system), system.problem()
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        moved = [u + 1e-3 * torch.randn(u.shape, generator=generator, dtype=u.dtype) for u in solution.controls]
        assert rollout(problem, moved).cost > solution.cost


def test_double_integrator_is_stopped_by_feedback():
    system = double_integrator(T=30, h0=(1.0, 0.0))
    braked = linear_quadratic(system.A, system.B, torch.eye(2).double(), system.R, torch.eye(2).double(), system.h0)
    assert float(torch.linalg.vector_norm(lqr(braked).states[-1])) < 1e-3


def test_misuse():
    with pytest.raises(ValueError, match="give T, or one A, B, Q, R per time"):
        linear_quadratic(1, 1, 1, 1, 1, 1.0)
    with pytest.raises(ValueError, match="let them agree; got lengths"):
        linear_quadratic(torch.ones(3, 1, 1).double(), 1, 1, 1, 1, 1.0, T=2)
    with pytest.raises(ValueError, match="at most 2 dimensions"):
        linear_quadratic(1, 1, 1, 1, torch.ones(2, 1, 1).double(), 1.0, T=2)
    with pytest.raises(ValueError, match=r"Q needs shape \(2, 1, 1\)"):
        linear_quadratic(1, 1, torch.eye(2).double(), 1, 1, 1.0, T=2)
    skew = torch.tensor([[1.0, 1.0], [0.0, 1.0]]).double()
    with pytest.raises(ValueError, match="Q must be symmetric"):
        linear_quadratic(skew, skew, skew, torch.eye(2).double(), torch.eye(2).double(), torch.ones(2).double(), T=2)
    with pytest.raises(ValueError, match="R_1 \\+ BᵀPB is not positive definite"):
        lqr(linear_quadratic(1, 1, 1, -1, 0, 1.0, T=2))
