"""The second-order sweep of iLQR and DDP: a linear-quadratic model around a trajectory, solved by dynamic programming.

    Q_x = R_x + f_xᵀV'_x,    Q_u = R_u + f_uᵀV'_x,    Q_xx = R_xx + f_xᵀV'_xx f_x [+ V'_x·f_xx],  likewise Q_ux, Q_uu;
    k = −(Q_uu + μI)⁻¹Q_u,   K = −(Q_uu + μI)⁻¹Q_ux,   δu = k + K δx,   V_x = Q_x + KᵀQ_u,   V_xx = Q_xx + Q_uxᵀK.

The terms in brackets make it DDP (Mayne 1966); without them it is iLQR, i.e. Gauss–Newton (Li & Todorov 2004).

Levenberg's μ is a cost ½μ‖δu_t‖² of the model. V is the value of that damped model, so the step is −(H + μI)⁻¹∇J for
every μ, H the Hessian of the model in all controls together. (The undamped model under the damped gains gives another
step.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, hessian, jacrev

from lab.control.problem import ControlProblem, Trajectory


@dataclass(frozen=True, eq=False)
class Sweep:
    """The result of one backward sweep.

    Attributes:
        k: [k_t], feed-forward change of u_t, shape (d_t,).
        K: [K_t], feedback gain, shape (d_t, numel h_t).
        direction: [δu_t] = −(H + μI)⁻¹∇J, shape (d_t,): what k and K do together along the linearised dynamics.
        slope: ∇Jᵀδu = Σ k_tᵀQ_u,t ≤ 0: dJ/dα at 0 of u + α·δu, and of `feedback_rollout` at step length α.
        bend: δuᵀH δu = −slope − μ‖δu‖²: the model's cost at step length α is J + α·slope + ½α²·bend.
    """

    k: list[Tensor]
    K: list[Tensor]
    direction: list[Tensor]
    slope: Tensor
    bend: Tensor


def riccati_sweep(problem: ControlProblem, at: Trajectory, *, damping: float = 0.0, ddp: bool = False) -> Sweep | None:
    """One backward sweep around a trajectory, with dense Jacobians.

    Args:
        problem: the control problem; states are flattened, so this is for n and d_t of at most some hundreds.
        at: the trajectory to expand around.
        damping: Levenberg's μ, added to Q_uu's diagonal.
        ddp: add the second derivatives of the dynamics.

    Returns:
        The sweep, or None where some Q_uu + μI is not positive definite: more damping is needed.
    """
    end = at.states[-1]
    V_x = grad(problem.terminal_cost)(end).reshape(-1)
    V_xx = hessian(problem.terminal_cost)(end).reshape(end.numel(), end.numel())
    slope = end.new_zeros(())
    ks, Ks, linearised = [], [], []
    for t in reversed(range(problem.T)):
        h, u = at.states[t], at.controls[t]
        n, d = h.numel(), u.numel()
        f_x, f_u = _jacobians(problem, t, h, u)
        curved = V_x.reshape(at.states[t + 1].shape) if ddp else None
        (R_x, R_u), (R_xx, R_ux, R_uu) = _cost_derivatives(problem, t, h, u, curved)
        Q_x, Q_u = R_x + f_x.mT @ V_x, R_u + f_u.mT @ V_x
        Q_xx, Q_ux, Q_uu = R_xx + f_x.mT @ V_xx @ f_x, R_ux + f_u.mT @ V_xx @ f_x, R_uu + f_u.mT @ V_xx @ f_u
        factor, info = torch.linalg.cholesky_ex(Q_uu + damping * torch.eye(d, dtype=u.dtype, device=u.device))
        if int(info):
            return None
        k = -torch.cholesky_solve(Q_u[:, None], factor)[:, 0] if d else u
        K = -torch.cholesky_solve(Q_ux, factor) if d else u.new_zeros(0, n)
        slope = slope + k @ Q_u
        V_x, V_xx = Q_x + K.mT @ Q_u, Q_xx + Q_ux.mT @ K
        V_xx = (V_xx + V_xx.mT) / 2
        ks.append(k)
        Ks.append(K)
        linearised.append((f_x, f_u))
    direction = _closed_loop(at.states[0], ks[::-1], Ks[::-1], linearised[::-1])
    squared_length = sum((du.square().sum() for du in direction), end.new_zeros(()))
    return Sweep(ks[::-1], Ks[::-1], direction, slope, -slope - damping * squared_length)


def feedback_rollout(problem: ControlProblem, at: Trajectory, sweep: Sweep, alpha: float) -> list[Tensor]:
    """The controls u_t + α·k_t + K_t(h_t − h̄_t) met along their own trajectory h, where h̄ is the old one."""
    h, controls = problem.h0, []
    for t, f in enumerate(problem.dynamics):
        u = at.controls[t] + alpha * sweep.k[t] + sweep.K[t] @ (h - at.states[t]).reshape(-1)
        controls.append(u)
        h = f(h, u)
    return controls


def _closed_loop(
    h0: Tensor, ks: list[Tensor], Ks: list[Tensor], linearised: list[tuple[Tensor, Tensor]]
) -> list[Tensor]:
    """δu_t = k_t + K_t δh_t along δh_{t+1} = f_x δh_t + f_u δu_t from δh_0 = 0."""
    dh, direction = torch.zeros_like(h0).reshape(-1), []
    for k, K, (f_x, f_u) in zip(ks, Ks, linearised, strict=True):
        du = k + K @ dh
        direction.append(du)
        dh = f_x @ dh + f_u @ du
    return direction


def _jacobians(problem: ControlProblem, t: int, h: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    f_x, f_u = jacrev(problem.dynamics[t], argnums=(0, 1))(h, u)
    n_next = f_x.numel() // max(h.numel(), 1) if h.numel() else f_u.numel() // max(u.numel(), 1)
    return f_x.reshape(n_next, h.numel()), f_u.reshape(n_next, u.numel())


def _cost_derivatives(
    problem: ControlProblem, t: int, h: Tensor, u: Tensor, V_x: Tensor | None
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Gradients of R_t, and Hessians of R_t (+ V'_x·f_t for DDP), flattened."""
    R, f = problem.running_costs[t], problem.dynamics[t]

    def model(x: Tensor, v: Tensor) -> Tensor:
        return R(x, v) if V_x is None else R(x, v) + (V_x * f(x, v)).sum()

    n, d = h.numel(), u.numel()
    R_x, R_u = grad(R, argnums=(0, 1))(h, u)
    (xx, _), (ux, uu) = hessian(model, argnums=(0, 1))(h, u)
    return (R_x.reshape(n), R_u), (xx.reshape(n, n), ux.reshape(d, n), uu.reshape(d, d))
