"""Pontryagin's maximum principle: costates, Hamiltonian, and how far controls are from satisfying it.

With H_t(h, p, u) = ⟨p, f_t(h, u)⟩ − R_t(h, u) (to be raised in u; the sign of Li & Hao 2018), an optimal control
satisfies, along its own trajectory,

    h_{t+1} = ∂H_t/∂p,    p_t = ∂H_t/∂h,    p_T = −∂ℓ/∂h_T,    ∇_u H_t(h_t, p_{t+1}, u_t) = 0

where u_t is free; in a convex set U no feasible direction raises H_t to first order. The costates are p_t = −∂J/∂h_t
and the gradients are ∇_u H_t = −∇_{u_t} J: back-propagation computes both.

Warning:
    In discrete time an optimal control makes H_t *stationary*; that it maximises H_t needs directional convexity of the
    reachable sets {(f_t(h, u), −R_t(h, u)) : u ∈ U} (Halkin 1966), as for f_t affine in u and
    R_t convex. Without it the optimum may even minimise H_t: f(u) = (u, −u²), ℓ(h) = h₂ + 2h₁² has J = u², least at
    u = 0, and there p = (0, −1), H(u) = u². A block of a PLM is not affine in its delta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.func import grad

from lab.control.problem import (
    ControlProblem,
    Controls,
    Dynamics,
    Trajectory,
    check_controls,
    detached,
    require_path,
    rollout,
)
from lab.faces import outlined


@outlined
@dataclass(frozen=True, eq=False)
class Adjoint:
    """One forward and one backward pass.

    Attributes:
        trajectory: the forward pass, without a graph.
        costates: [p_0, …, p_T], p_t of h_t's shape.
        ascent: [∇_u H_0, …, ∇_u H_{T−1}] = −∇_{u_t} J, of the controls' shapes.
    """

    trajectory: Trajectory
    costates: list[Tensor]
    ascent: list[Tensor]


def adjoint(problem: ControlProblem, controls: Controls) -> Adjoint:
    """Trajectory, all costates and all ∇_u H_t by one forward and one backward pass.

    The costates are by-products that back-propagation throws away; asking autograd to keep them costs no product.
    """
    us = [u.detach().requires_grad_() for u in check_controls(problem, controls)]
    problem.tell("adjoints", 1)
    watched = replace(problem, h0=problem.h0.detach().requires_grad_(), dynamics=tuple(map(_watched, problem.dynamics)))
    with torch.enable_grad():
        trajectory = rollout(watched, us)
        wanted = (*trajectory.states, *us)
        gradients = torch.autograd.grad(trajectory.cost, wanted, allow_unused=True, materialize_grads=True)
    negative = [-g for g in gradients]
    n = len(trajectory.states)
    return Adjoint(detached(trajectory), negative[:n], negative[n:])


def costates(problem: ControlProblem, trajectory: Trajectory, *, recursion: bool = False) -> list[Tensor]:
    """p_T = −∂ℓ/∂h_T and p_t = (∂f_t/∂h_t)ᵀ p_{t+1} − ∂R_t/∂h_t, along a trajectory.

    Args:
        problem: the control problem.
        trajectory: where to linearise. The recursion uses its states as they are, also where they do not satisfy the
            dynamics; one pass uses its controls only.
        recursion: False: one forward and one backward pass through the whole chain (at most 1.2 × a backward pass,
            see `benchmarks/control.py`). True: stage by stage by vjp, keeping the graph of one stage at a time: a
            second forward pass in time, 1/T of the memory.

    Returns:
        [p_0, …, p_T], each of the shape of h_t. p_t = −∂J/∂h_t.

    Raises:
        TypeError: something else than a control problem and a trajectory.
    """
    require_path("costates", problem, trajectory)
    if not recursion:
        return adjoint(problem, trajectory.controls).costates
    problem.tell("adjoints", 1)
    p = -grad(problem.terminal_cost)(trajectory.states[-1])
    found = [p]
    for t in reversed(range(problem.T)):
        h, u = trajectory.states[t], trajectory.controls[t]
        p = grad(partial(_hamiltonian, problem, t), argnums=0)(h, p, u)  # p_t = ∂H_t/∂h
        found.append(p)
    return found[::-1]


def hamiltonian_slope(problem: ControlProblem, t: int, h: Tensor, p_next: Tensor, u: Tensor) -> Tensor:
    """∇_u H_t(h_t, p_{t+1}, u_t) = (∂f_t/∂u_t)ᵀ p_{t+1} − ∂R_t/∂u_t from stage t alone, of u_t's shape.

    Args:
        problem: the control problem.
        t: the stage.
        h: h_t.
        p_next: p_{t+1}; with the costate of the trajectory the result is −∇_{u_t} J.
        u: u_t.
    """
    return grad(partial(_hamiltonian, problem, t), argnums=2)(h, p_next, u)


def hamiltonian(problem: ControlProblem, trajectory: Trajectory, p: Sequence[Tensor] | None = None) -> Tensor:
    """H_t(h_t, p_{t+1}, u_t) = ⟨p_{t+1}, f_t(h_t, u_t)⟩ − R_t(h_t, u_t) for every t, shape (T,).

    Args:
        problem: the control problem.
        trajectory: states and controls.
        p: costates [p_0, …, p_T]; default the trajectory's own.

    Raises:
        ValueError: not T + 1 costates.
    """
    p = costates(problem, trajectory) if p is None else p
    if len(p) != problem.T + 1:
        raise ValueError(f"the Hamiltonian needs costates p_0 … p_T ({problem.T + 1} of them); got {len(p)}.")
    h, u = trajectory.states, trajectory.controls
    return torch.stack([_hamiltonian(problem, t, h[t], p[t + 1], u[t]) for t in range(problem.T)])


@outlined
@dataclass(frozen=True, eq=False)
class PMPResidual:
    """How far controls are from a stationary point of every H_t, per stage.

    Attributes:
        absolute: ‖∇_u H_t‖, shape (T,); zero everywhere iff u is a critical point of J. Inside a box, the norm of the
            projected gradient: zero iff u_t maximises the linearised H_t over the box.
        relative: ‖∇_u H_t‖·‖u_t‖ / |J|, shape (T,): the relative change of the cost, to first order, if u_t changed by
            its own length. 0 where u_t = 0.
        to_cost: ‖∇_u H_t‖ / |J|, shape (T,): the same per unit of change of u_t, so it does not vanish with u_t.
    """

    absolute: Tensor
    relative: Tensor
    to_cost: Tensor

    @property
    def total(self) -> Tensor:
        """(Σ_t absolute²)^½ = ‖∇J‖, scalar."""
        return torch.linalg.vector_norm(self.absolute)


def pmp_residual(
    problem: ControlProblem,
    controls: Controls,
    *,
    box: tuple[float, float] | None = None,
    known: Adjoint | None = None,
) -> PMPResidual:
    """The stationarity residual of the maximum principle, layer by layer.

    Args:
        problem: the control problem.
        controls: [u_0, …, u_{T−1}].
        box: admissible interval (lower, upper) of every coordinate; the gradient is then projected: what points out of
            the box at its border does not count.
        known: the result of `adjoint` at these controls, if it is at hand; saves both passes.
    """
    at = adjoint(problem, controls) if known is None else known
    us, cost = at.trajectory.controls, at.trajectory.cost.abs()
    ascent = at.ascent if box is None else [_projected(u, g, box) for u, g in zip(us, at.ascent, strict=True)]
    norms = torch.stack([torch.linalg.vector_norm(g) for g in ascent])
    lengths = torch.stack([torch.linalg.vector_norm(u) for u in us])
    to_cost = norms / cost.clamp_min(torch.finfo(norms.dtype).tiny)
    return PMPResidual(norms, to_cost * lengths, to_cost)


def _watched(f: Dynamics) -> Dynamics:
    """f_t whose result requires a gradient of its own: also where f_t ignores state and control, or hands one on."""

    def step(h: Tensor, u: Tensor) -> Tensor:
        reached = f(h, u)
        if reached is h or reached is u:
            return reached.view_as(reached)  # else ∂J/∂h_{t+1} would be ∂J/∂u_t, running cost included
        return reached if reached.requires_grad else reached.detach().requires_grad_()

    return step


def _hamiltonian(problem: ControlProblem, t: int, h: Tensor, p_next: Tensor, u: Tensor) -> Tensor:
    return (p_next * problem.dynamics[t](h, u)).sum() - problem.running_costs[t](h, u)


def _projected(u: Tensor, ascent: Tensor, box: tuple[float, float]) -> Tensor:
    lower, upper = box
    blocked = ((u >= upper) & (ascent > 0)) | ((u <= lower) & (ascent < 0))
    return ascent.masked_fill(blocked, 0.0)
