"""Affine, time-varying LQR: numbers by hand, one dense least-squares problem, and a trained trajectory that is held."""

from __future__ import annotations

import pytest
import torch

from lab.control import (
    ControlProblem,
    block_stages,
    held,
    layerwise,
    linear_quadratic,
    linearised,
    lqr,
    references,
    residual_toy,
    rollout,
    tracking_lqr,
)
from lab.deltas import Adapter
from lab.models.tiny import tiny_plm

GOLDEN = (1 + 5**0.5) / 2


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_an_integrator_that_tracks_one():
    """1 − h shrinks by 1 − K = (3 − √5)/2 a step: .6180, .8541, .9443."""
    system = linear_quadratic(1, 1, 1, 1, GOLDEN, 0.0, T=60)
    found = tracking_lqr(system, linear=references(system, torch.ones(61, 1, dtype=torch.float64)))
    assert found.states[1:4, 0].tolist() == pytest.approx([0.618034, 0.854102, 0.944272], abs=1e-6)
    assert float(found.K[0]) == pytest.approx(1 / GOLDEN, abs=1e-12)


def test_one_step_with_drift_by_hand():
    """h_0 = 0, h_1 = u + 1, J = ½u² + ½h_1² − 2h_1: u + (u + 1) − 2 = 0, so u = ½ and h_1 = 3/2."""
    system = linear_quadratic(1, 1, 0, 1, 1, 0.0, T=1)
    drift, linear = torch.ones(1, 1).double(), torch.tensor([[0.0], [-2.0]]).double()
    found = tracking_lqr(system, drift=drift, linear=linear)
    assert float(found.controls[0]) == pytest.approx(0.5, abs=1e-15)
    assert float(found.states[1]) == pytest.approx(1.5, abs=1e-15)


@pytest.mark.parametrize("seed", [0, 1])
def test_feedback_gives_the_minimum_over_all_controls(make_system, seed):
    """The controls are those at which the gradient of the whole J in all controls vanishes, found densely."""
    system = make_system(T=5, n=3, m=2, seed=seed)
    c, q = normal(5, 3, seed=7), normal(6, 3, seed=8)

    def cost(u):
        h, total = system.h0, 0.0
        for t in range(5):
            total = total + h @ system.Q[t] @ h / 2 + q[t] @ h + u[t] @ system.R[t] @ u[t] / 2
            h = system.A[t] @ h + system.B[t] @ u[t] + c[t]
        return total + h @ system.Q_end @ h / 2 + q[5] @ h

    zero = torch.zeros(10, dtype=torch.float64)
    flat = lambda u: cost(u.view(5, 2))  # noqa: E731
    H, g = torch.func.hessian(flat)(zero), torch.func.grad(flat)(zero)
    dense = -torch.linalg.solve(H, g).view(5, 2)
    found = tracking_lqr(system, drift=c, linear=q)
    torch.testing.assert_close(found.controls, dense, rtol=1e-10, atol=1e-10)
    ahead = torch.func.grad(cost_from(system, c, q, found))(found.states[0])
    torch.testing.assert_close(ahead, found.P[0] @ found.states[0] + found.s[0], rtol=1e-9, atol=1e-9)


def cost_from(system, c, q, found):
    """h_0 -> J under the feedback: its gradient is P_0 h_0 + s_0."""

    def cost(h):
        total = 0.0
        for t in range(system.T):
            u = found.k[t] - found.K[t] @ h
            total = total + h @ system.Q[t] @ h / 2 + q[t] @ h + u @ system.R[t] @ u / 2
            h = system.A[t] @ h + system.B[t] @ u + c[t]
        return total + h @ system.Q_end @ h / 2 + q[-1] @ h

    return cost


def strayed(path, states):
    return sum(float((a - b).square().sum()) for a, b in zip(states[1:], path.states[1:], strict=True))


def test_feedback_holds_a_nonlinear_trajectory_under_disturbances():
    problem, controls = residual_toy(6, 3, 0.5, 4, perturbation=0.4)
    path = rollout(problem, controls)
    K = lqr(linearised(problem, path, effort=1e-2)).K
    noise = [0.05 * normal(4, 3, seed=t) for t in range(6)]
    loose = held(problem, path, torch.zeros_like(K), disturbances=noise)
    assert strayed(path, held(problem, path, K, disturbances=noise)) < 0.9 * strayed(path, loose)
    assert strayed(path, held(problem, path, K)) == 0.0  # nothing to correct


def test_a_delta_on_a_plm_is_held_at_the_price_that_the_riccati_matrix_says():
    """Σ_t ½‖δh_t‖² + ½ρ‖δu_t‖² = ½ δh_0ᵀP_0 δh_0 to first order in the size of δh_0."""
    plm = tiny_plm("bert")
    delta = Adapter(bottleneck=2, head="frozen").on(plm)
    batch = {"input_ids": torch.tensor([[2, 5, 7, 3]]), "attention_mask": torch.ones(1, 4).long()}
    batch["labels"] = torch.tensor([1])
    whole = layerwise(delta, batch, torch.nn.functional.cross_entropy)
    phi = delta.phi0 + 0.3 * normal(delta.size)
    problem = block_stages(whole, whole.split(phi))
    path = rollout(problem, whole.split(phi)[_first(whole) : _first(whole) + problem.T])
    assert float(path.terminal) == pytest.approx(float(rollout(whole, whole.split(phi)).cost), rel=1e-12)
    system = linearised(problem, path, effort=0.1)
    solution = lqr(system)
    change = 1e-5 * normal(*problem.h0.shape)
    states = held(problem, path, solution.K, start=problem.h0 + change)
    paid = strayed(path, states) / 2
    for K, h, reference in zip(solution.K, states, path.states, strict=False):
        paid += 0.1 * float((K @ (h - reference).reshape(-1)).square().sum()) / 2
    expected = change.reshape(-1) @ solution.P[0] @ change.reshape(-1) / 2
    assert paid == pytest.approx(float(expected), rel=1e-3)
    loose = strayed(path, held(problem, path, torch.zeros_like(solution.K), start=problem.h0 + change))
    assert strayed(path, states) < loose


def _first(problem):
    return next(t for t, name in enumerate(problem.names) if name.startswith("block "))


def test_misuse_is_refused():
    system = linear_quadratic(1, 1, 1, 1, 1, 0.0, T=2)
    with pytest.raises(ValueError, match=r"expected a drift of shape \(2, 1\)"):
        tracking_lqr(system, drift=torch.zeros(3, 1).double())
    with pytest.raises(ValueError, match="expected stages named 'block …'"):
        block_stages(system.problem(), system.problem().zero_controls())
    uneven = ControlProblem(
        h0=torch.ones(2).double(), dynamics=(lambda h, u: h[:1] * u,), terminal_cost=lambda h: h.sum(), sizes=(1,)
    )
    with pytest.raises(ValueError, match=r"states of \[1, 2\]"):
        linearised(uneven, rollout(uneven, [torch.ones(1).double()]))
