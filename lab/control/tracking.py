"""Tracking a trajectory with feedback: the affine, time-varying linear-quadratic regulator.

    h_{t+1} = A_t h_t + B_t u_t + c_t,
    J = Σ_t [ ½ h_tᵀQ_t h_t + q_tᵀh_t + ½ u_tᵀR_t u_t ] + ½ h_Tᵀ Q_T h_T + q_Tᵀh_T;

q_t = −Q_t r_t tracks a reference r_t. With P the Riccati matrix of `lab.control.lqr` (it sees neither c nor q) the cost
to go is ½ hᵀP_t h + s_tᵀh + const, and the optimum is feedback plus what is known in advance:

    u_t = −K_t h_t − (R + BᵀPB)⁻¹Bᵀ(P c_t + s_{t+1}),    s_t = q_t + (A − B K_t)ᵀ(s_{t+1} + P c_t),    s_T = q_T

(Anderson & Moore 1990, chapter 4). Around a trajectory h̄, ū of a `ControlProblem` the deviations obey this system with
A_t = ∂f_t/∂h, B_t = ∂f_t/∂u: `linearised` makes it, and u = ū_t − K_t (h − h̄_t) holds the trajectory under
disturbances that were not known when it was found. A trained delta is such a ū: its feedback is what it lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jacrev

from lab.control.lqr import LinearQuadratic, lqr
from lab.control.problem import ControlProblem, Controls, Trajectory, advance, check_controls, cost_to_go
from lab.faces import outlined


@outlined
@dataclass(frozen=True, eq=False)
class Tracker:
    """The optimal affine feedback u_t = −K_t h_t + k_t.

    Attributes:
        K: (T, m, n).
        k: (T, m).
        P: (T+1, n, n): curvature of the cost to go.
        s: (T+1, n): its slope at 0.
        states: (T+1, n), from h_0.
        controls: (T, m).
    """

    K: Tensor
    k: Tensor
    P: Tensor
    s: Tensor
    states: Tensor
    controls: Tensor


def tracking_lqr(system: LinearQuadratic, *, drift: Tensor | None = None, linear: Tensor | None = None) -> Tracker:
    """The optimal feedback of a linear-quadratic problem with a drift c_t and linear costs q_t.

    Known answer: the integrator h' = h + u with Q = R = 1, P_T the golden ratio, that tracks r = 1 from h_0 = 0, over
    many steps: h = .6180, .8541, .9443, …: 1 − h shrinks by (3 − √5)/2 a step.

    Args:
        system: A, B, Q, R, Q_end, h0.
        drift: c, (T, n); default 0.
        linear: q, (T+1, n); default 0. `−Q_t r_t` tracks r.

    Raises:
        ValueError: shapes do not agree.
    """
    T, n, _ = system.B.shape
    c = system.B.new_zeros(T, n) if drift is None else drift
    q = system.B.new_zeros(T + 1, n) if linear is None else linear
    if c.shape != (T, n) or q.shape != (T + 1, n):
        raise ValueError(
            f"expected a drift of shape {(T, n)} and linear costs of shape {(T + 1, n)}; got {tuple(c.shape)} and "
            f"{tuple(q.shape)}."
        )
    found = lqr(system)
    s, slopes, feedforward = q[T], [q[T]], []
    for t in reversed(range(T)):
        A, B, P = system.A[t], system.B[t], found.P[t + 1]
        ahead = s + P @ c[t]
        feedforward.append(-torch.linalg.solve(system.R[t] + B.mT @ P @ B, B.mT @ ahead))
        s = q[t] + (A - B @ found.K[t]).mT @ ahead
        slopes.append(s)
    k = torch.stack(feedforward[::-1])
    states, controls = [system.h0], []
    for t in range(T):
        controls.append(k[t] - found.K[t] @ states[-1])
        states.append(system.A[t] @ states[-1] + system.B[t] @ controls[-1] + c[t])
    return Tracker(found.K, k, found.P, torch.stack(slopes[::-1]), torch.stack(states), torch.stack(controls))


def references(system: LinearQuadratic, wanted: Tensor) -> Tensor:
    """q_t = −Q_t r_t of wanted states r, (T+1, n) -> (T+1, n)."""
    before = torch.einsum("tij,tj->ti", system.Q, wanted[:-1])
    return -torch.cat([before, (system.Q_end @ wanted[-1])[None]])


def block_stages(problem: ControlProblem, controls: Controls) -> ControlProblem:
    """The blocks of a delta's problem alone: from the state that enters the first to the cost behind the last.

    What acts before and behind them (embedding, readout) stays under the given controls.

    Args:
        problem: from `layerwise`.
        controls: of the whole problem, usually a trained delta's.

    Raises:
        ValueError: a problem without stages of that name.
    """
    us = [u.detach() for u in check_controls(problem, controls)]
    blocks = [t for t, name in enumerate(problem.names) if name.startswith("block ")]
    if not blocks:
        raise ValueError(f"expected stages named 'block …', as `layerwise` makes them; got {', '.join(problem.names)}.")
    part = slice(blocks[0], blocks[-1] + 1)
    with torch.no_grad():
        start = advance(problem, 0, problem.h0, us[: part.start])
    return ControlProblem(
        h0=start,
        dynamics=problem.dynamics[part],
        terminal_cost=lambda h: cost_to_go(problem, part.stop, h, us[part.stop :]),
        sizes=problem.sizes[part],
        running_costs=problem.running_costs[part],
        names=problem.names[part],
    )


def linearised(
    problem: ControlProblem, along: Trajectory, *, state_price: float = 1.0, effort: float = 1.0
) -> LinearQuadratic:
    """The deviations δh_{t+1} = A_t δh_t + B_t δu_t along a trajectory, priced ½·state_price‖δh‖² + ½·effort‖δu‖².

    Dense Jacobians: for states and controls of some hundreds of numbers, all stages of one size.

    Args:
        problem: the control problem.
        along: the trajectory that is to be held.
        state_price: of ‖δh_t‖² at every t > 0.
        effort: ρ > 0.

    Raises:
        ValueError: stages whose states or controls differ in size.
    """
    sizes, controls = {h.numel() for h in along.states}, {u.numel() for u in along.controls}
    if len(sizes) > 1 or len(controls) > 1:
        raise ValueError(
            f"expected states and controls of one size at every stage; got states of {sorted(sizes)} and controls of "
            f"{sorted(controls)} numbers."
        )
    n, m = sizes.pop(), controls.pop()
    A, B = [], []
    for f, h, u in zip(problem.dynamics, along.states, along.controls, strict=False):
        f_h, f_u = jacrev(f, argnums=(0, 1))(h.detach(), u.detach())
        A.append(f_h.reshape(n, n))
        B.append(f_u.reshape(n, m))
    like, T = along.states[0].detach().reshape(-1), problem.T
    Q = state_price * torch.eye(n, dtype=like.dtype, device=like.device)
    R = effort * torch.eye(m, dtype=like.dtype, device=like.device)
    first = torch.zeros_like(Q)  # δh_0 is given
    return LinearQuadratic(
        A=torch.stack(A), B=torch.stack(B), Q=torch.stack([first] + [Q] * (T - 1)), R=torch.stack([R] * T), Q_end=Q,
        h0=torch.zeros_like(like),
    )  # fmt: skip


def held(
    problem: ControlProblem,
    along: Trajectory,
    K: Tensor,
    *,
    start: Tensor | None = None,
    disturbances: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """The states of h_{t+1} = f_t(h_t, ū_t − K_t (h_t − h̄_t)) + w_t: a trajectory held by feedback, or not (K = 0).

    Args:
        problem: the control problem, nonlinear as it is.
        along: h̄, ū.
        K: (T, m, n), such as `lqr(linearised(problem, along)).K`.
        start: another h_0.
        disturbances: w_t, in the shape of h_{t+1}; default none.

    Returns:
        [h_0, …, h_T].
    """
    h = problem.h0 if start is None else start
    states = [h]
    for t, f in enumerate(problem.dynamics):
        u = along.controls[t] - K[t] @ (h - along.states[t]).reshape(-1)
        h = f(h, u)
        h = h if disturbances is None else h + disturbances[t]
        states.append(h)
    return states
