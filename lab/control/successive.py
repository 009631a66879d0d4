"""The method of successive approximations: forward, backward, then raise the Hamiltonian layer by layer.

    MSA:    u_t ← something with a larger H_t(h_t, p_{t+1}, u), for all t at once.
    E-MSA:  u_t ← argmax_u H_t − ½ρ‖h_{t+1} − f_t(h_t, u)‖² − ½ρ‖p_t − ∂_hH_t(h_t, p_{t+1}, u)‖²

(Li, Chen, Tai & E 2017).

How the Hamiltonian is raised is an `Update`: gradient ascent (then MSA *is* gradient descent on J by back-propagation),
maximisation by L-BFGS, or the maximiser over a ball (signs, bang-bang). Each has its form for controls in a box,
`update(problem, at, box)`; without one it also steps on a mini-batch: `update(problem, adjoint(problem, controls))`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from lab.control.minimize import Box, minimize
from lab.control.pontryagin import Adjoint, adjoint
from lab.control.problem import ControlProblem, Controls
from lab.control.solution import Log, Solution, Status, is_finite, rises


class Update(Protocol):
    """One step of `msa`: (problem, adjoint at the controls, box) -> new controls, inside the box if there is one."""

    def __call__(self, problem: ControlProblem, at: Adjoint, box: Box | None = None) -> list[Tensor]: ...


def gradient_ascent(step: float) -> Update:
    """u_t ← u_t + step·∇_u H_t: bit for bit one step of gradient descent on J with back-propagated gradients.

    In a box, projected: clipped to it. That is the maximiser over the box of ⟨∇_u H_t, v⟩ − ‖v − u_t‖²/(2·step), a sum
    over coordinates.
    """

    def update(problem: ControlProblem, at: Adjoint, box: Box | None = None) -> list[Tensor]:
        return _clipped([u + step * g for u, g in zip(at.trajectory.controls, at.ascent, strict=True)], box)

    return update


def sign_ascent(radius: float) -> Update:
    """u_t ← argmax of the linearised H_t over max|v − u_t| ≤ radius, i.e. u_t + radius·sign ∇_u H_t.

    In a box it is the maximiser over ball and box together (both are products of intervals); with a radius as large as
    the box it is bang-bang: every coordinate with a gradient at a bound, as binary masks want it. Exact where H_t is
    affine in u.
    """

    def update(problem: ControlProblem, at: Adjoint, box: Box | None = None) -> list[Tensor]:
        return _clipped([u + radius * g.sign() for u, g in zip(at.trajectory.controls, at.ascent, strict=True)], box)

    return update


def optimizer_ascent(make: Callable[[list[Tensor]], torch.optim.Optimizer]) -> Update:
    """u ← one step of a torch optimiser along ∇_u H: AdamW, momentum, … as ways to raise the Hamiltonian.

    The optimiser sees φ as one tensor whose gradient is −∇_u H = ∇J, so this is training by back-propagation. It keeps
    its state between calls: make a new update for every run. In a box the optimiser's controls are clipped to it, and
    it goes on from there.

    Args:
        make: list with the one tensor to move -> optimiser, e.g. ``lambda params: torch.optim.AdamW(params, lr=1e-3)``.
    """
    kept: list[tuple[Tensor, torch.optim.Optimizer]] = []

    def update(problem: ControlProblem, at: Adjoint, box: Box | None = None) -> list[Tensor]:
        if not kept:
            leaf = problem.join(at.trajectory.controls).detach().clone().requires_grad_()
            kept.append((leaf, make([leaf])))
        leaf, optimizer = kept[0]
        leaf.grad = -problem.join(at.ascent)
        optimizer.step()
        if box is not None:
            leaf.data.clamp_(*box)
        return problem.split(leaf.detach().clone())

    return update


def full_maximization(iterations: int = 10) -> Update:
    """u_t ← argmax_u H_t(h_t, p_{t+1}, u) by L-BFGS (over a box: L-BFGS-B), each layer for itself.

    Warning:
        H_t is linear in f_t, so without a running cost it may have no maximum, and what is found may raise J: this is
        the divergence of plain MSA that `extended_msa` cures.

    Args:
        iterations: of L-BFGS per layer; default 10, as for E-MSA in the authors' code.
    """
    return augmented_maximization(0.0, iterations)


def augmented_maximization(rho: float, iterations: int = 10) -> Update:
    """One E-MSA step: u_t ← argmax of the augmented Hamiltonian by L-BFGS (over a box, L-BFGS-B), each layer alone.

    Args:
        rho: weight ρ ≥ 0 of the two feasibility terms; they keep the new control where the states and costates it was
            derived from still hold.
        iterations: of L-BFGS per layer; default 10, as in the authors' code.

    Raises:
        ValueError: rho is negative.
    """
    if rho < 0:
        raise ValueError(f"rho weighs a penalty and must be >= 0; got {rho}.")

    def update(problem: ControlProblem, at: Adjoint, box: Box | None = None) -> list[Tensor]:
        us = at.trajectory.controls
        return [
            minimize(partial(_minus_augmented, problem, at, t, rho), us[t], iterations, box) if us[t].numel() else us[t]
            for t in range(problem.T)
        ]

    return update


def msa(
    problem: ControlProblem,
    controls: Controls,
    *,
    update: Update,
    iterations: int = 100,
    tolerance: float = 1e-8,
    box: Box | None = None,
) -> Solution:
    """The method of successive approximations.

    Args:
        problem: the control problem.
        controls: the start.
        update: how each iteration raises the Hamiltonians: `gradient_ascent`, `sign_ascent`, `full_maximization`, or
            any function of (problem, adjoint), or with a box of (problem, adjoint, box).
        iterations: at most this many; each costs one forward and one backward pass beside the update.
        tolerance: on ‖∇J‖, absolute.
        box: (lower, upper) for every coordinate; handed to the update, which stays inside.

    Returns:
        Solution. MSA does not look at J: the cost may rise, and the history shows it.
    """
    log = Log(problem, box)
    problem = log.problem
    point = adjoint(problem, controls)
    residual = log.add(point)
    for _ in range(iterations):
        if residual <= tolerance:
            return log.solution(point, Status.CONVERGED)
        proposed = adjoint(problem, update(problem, point) if box is None else update(problem, point, box))
        if not is_finite(proposed):
            return log.solution(point, Status.NOT_FINITE)
        point = proposed
        residual = log.add(point)
    return log.solution(point, Status.CONVERGED if residual <= tolerance else Status.ITERATION_LIMIT)


def extended_msa(
    problem: ControlProblem,
    controls: Controls,
    *,
    rho: float | Callable[[int], float] = 1.0,
    growth: float = 2.0,
    decay: float = 1.0,
    inner_iterations: int = 10,
    iterations: int = 100,
    tolerance: float = 1e-8,
    box: Box | None = None,
) -> Solution:
    """Extended MSA: maximises the augmented Hamiltonian of every layer.

    For ρ above a constant of the problem each step lowers J (Li, Chen, Tai & E 2017); the constant is unknown, so a
    step that raises J is undone and ρ grows.

    Args:
        problem: the control problem.
        controls: the start.
        rho: ρ, or its schedule iteration -> ρ. Default 1.0, the paper's toy.
        growth: factor on ρ after a step that raised J; such a step is undone. 1.0 is the paper's fixed schedule, where
            no step is ever undone.
        decay: factor on ρ after a step that lowered J; 1.0 keeps it. Below 1, ρ follows the problem down as in the
            sequential quadratic Hamiltonian method (Hofmann & Borzì 2025).
        inner_iterations: of L-BFGS per layer; default 10, as in the authors' code.
        iterations: at most this many, undone steps included; each costs one forward and one backward pass, and
            inner_iterations evaluations of every layer's second derivatives.
        tolerance: on ‖∇J‖, absolute.
        box: (lower, upper) for every coordinate; the augmented Hamiltonians are maximised over it.

    Returns:
        Solution. Its fixed points are exactly the points that satisfy the maximum principle's first-order conditions:
        at such a point both penalties and ∇_u H_t vanish.

    Raises:
        ValueError: growth below 1, decay outside (0, 1], or ρ not positive at the start.
    """
    schedule = rho if callable(rho) else lambda k: rho
    if growth < 1 or not 0 < decay <= 1:
        raise ValueError(f"need growth >= 1 and 0 < decay <= 1; got growth={growth}, decay={decay}.")
    if not schedule(0) > 0:
        raise ValueError(f"rho must be > 0; got {schedule(0)}. For rho = 0 use msa(…, update=full_maximization()).")
    log = Log(problem, box)
    problem = log.problem
    point = adjoint(problem, controls)
    residual = log.add(point, rho=schedule(0), accepted=True)
    factor = 1.0
    for k in range(iterations):
        if residual <= tolerance:
            return log.solution(point, Status.CONVERGED)
        weight = factor * schedule(k)
        proposed = adjoint(problem, augmented_maximization(weight, inner_iterations)(problem, point, box))
        finite = is_finite(proposed)
        accepted = finite and (growth == 1 or not rises(point, proposed))
        if not finite and growth == 1:
            return log.solution(point, Status.NOT_FINITE)
        if not accepted and weight > 1e12 * max(schedule(0), 1.0):
            return log.solution(point, Status.STALLED)
        point = proposed if accepted else point
        factor *= decay if accepted else growth
        residual = log.add(point, rho=weight, accepted=accepted)
    return log.solution(point, Status.CONVERGED if residual <= tolerance else Status.ITERATION_LIMIT)


def _minus_augmented(problem: ControlProblem, at: Adjoint, t: int, rho: float, u: Tensor) -> Tensor:
    """−H_t + ½ρ‖h_{t+1} − f_t(h_t, u)‖² + ½ρ‖p_t − ∂_hH_t(h_t, p_{t+1}, u)‖², differentiable in u."""
    h, h_next = at.trajectory.states[t], at.trajectory.states[t + 1]
    p, p_next = at.costates[t], at.costates[t + 1]
    h = h.detach().requires_grad_(rho > 0)
    reached = problem.dynamics[t](h, u)
    H = (p_next * reached).sum() - problem.running_costs[t](h, u)
    if rho == 0:
        return -H
    (slope,) = torch.autograd.grad(H, h, create_graph=True, allow_unused=True, materialize_grads=True)
    return -H + rho / 2 * ((h_next - reached).square().sum() + (p - slope).square().sum())


def _clipped(controls: list[Tensor], box: Box | None) -> list[Tensor]:
    return controls if box is None else [u.clamp(*box) for u in controls]
