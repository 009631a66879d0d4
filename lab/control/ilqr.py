"""Second-order search for controls: iLQR, DDP, and the same step matrix-free.

The open-loop iLQR step *is* the damped Gauss–Newton step of J in u: Riccati computes it by dynamic programming for
small states, conjugate gradients from products with ∂h/∂u for a PLM. They are equal on linear-quadratic problems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.control.pontryagin import Adjoint, adjoint
from lab.control.problem import ControlProblem, Controls, rollout
from lab.control.riccati import feedback_rollout, riccati_sweep
from lab.control.solution import Log, Solution, Status, is_finite
from lab.faces import outlined
from lab.linalg import Hessian, LinearOperator, RecordedJacobian, conjugate_gradients


@outlined
@dataclass(frozen=True, eq=False)
class Step:
    """A direction and what the model expects of it: J(α) ≈ J + α·slope + ½α²·bend.

    Attributes:
        controls: step length α -> new controls.
        slope: derivative of J along the direction, < 0.
        bend: curvature of the model along it, ≥ 0.
        squared_length: ‖direction‖².
    """

    controls: Callable[[float], list[Tensor]]
    slope: float
    bend: float
    squared_length: float


Direction = Callable[[ControlProblem, Adjoint, float], Step | None]


def riccati(*, ddp: bool = False) -> Direction:
    """The iLQR direction (DDP with `ddp=True`) by a dense Riccati sweep, with its feedback gains in the line search."""

    def direction(problem: ControlProblem, at: Adjoint, damping: float) -> Step | None:
        sweep = riccati_sweep(problem, at.trajectory, damping=damping, ddp=ddp)
        if sweep is None:
            return None
        length = sum(float(du @ du) for du in sweep.direction)
        return Step(
            lambda alpha: feedback_rollout(problem, at.trajectory, sweep, alpha),
            float(sweep.slope), float(sweep.bend), length,
        )  # fmt: skip

    return direction


def gauss_newton_cg(*, iterations: int = 20, tolerance: float = 1e-2) -> Direction:
    """The open-loop Gauss–Newton direction, (JᵀC J + μI) δφ = −∇J, by conjugate gradients; no matrix is formed.

    Args:
        iterations: products per direction, at most; each is one jvp, one vjp and one product with the costs' Hessian.
            Default 20.
        tolerance: stop when the linear residual has fallen by this factor. Default 1e-2: an inexact Newton step needs
            no more far from the optimum (Dembo, Eisenstat & Steihaug 1982); use 1e-12 to compare with Riccati.
    """

    def direction(problem: ControlProblem, at: Adjoint, damping: float) -> Step | None:
        us = at.trajectory.controls
        phi, ascent = problem.join(us), problem.join(at.ascent)
        curvature = control_gauss_newton(problem, us)
        solve = conjugate_gradients(curvature, ascent, damping=damping, tol=tolerance, max_iterations=iterations)
        problem.tell("products", solve.iterations)
        if solve.status in ("indefinite", "non_finite") and solve.iterations <= 1:
            return None
        delta = solve.solution  # stopped before a direction of negative curvature, it still descends (Steihaug 1983)
        slope, bend = -(ascent @ delta), delta @ (curvature @ delta)
        problem.tell("products", 1)
        move = lambda alpha: problem.split(phi + alpha * delta)  # noqa: E731
        return Step(move, float(slope), float(bend), float(delta @ delta))

    return direction


def control_gauss_newton(problem: ControlProblem, controls: Controls) -> LinearOperator:
    """JᵀC J in R^{d×d}: J = ∂(h_1, …, h_T, φ)/∂φ, C the Hessian of all costs as functions of free states and controls.

    The Gauss–Newton matrix of a control problem; `lab.geometry.gauss_newton` is that of a loss in a delta's vector. The
    curvature of the dynamics is left out: for linear dynamics this is the Hessian of J. Positive semi-definite
    where all costs are convex in (h, u).

    Args:
        problem: the control problem.
        controls: where.

    Returns:
        A symmetric operator; one product is one with J, one with C, one with Jᵀ.
    """
    phi = problem.join(controls).detach()

    def path(phi: Tensor) -> Tensor:
        states = rollout(problem, problem.split(phi)).states[1:]
        return torch.cat([*(h.reshape(-1) for h in states), phi])

    at = path(phi)
    shapes = [h.shape for h in rollout(problem, problem.split(phi)).states[1:]]

    def costs(point: Tensor) -> Tensor:
        """All costs where the dynamics do not bind: states and controls are independent."""
        *flat, phi = torch.split(point, [*(shape.numel() for shape in shapes), problem.size])
        hs = [problem.h0, *(h.reshape(shape) for h, shape in zip(flat, shapes, strict=True))]
        us = problem.split(phi)
        running = [R(h, u) for R, h, u in zip(problem.running_costs, hs[:-1], us, strict=True)]
        return problem.terminal_cost(hs[-1]) + torch.stack(running).sum()

    J = RecordedJacobian(path, phi)
    return J.T @ Hessian(costs, at, probe=False) @ J


def ilqr(
    problem: ControlProblem,
    controls: Controls,
    *,
    direction: Direction | None = None,
    iterations: int = 50,
    tolerance: float = 1e-8,
    damping: float = 0.0,
    factor: float = 10.0,
    line_search: int = 8,
    sufficient: float = 1e-4,
) -> Solution:
    """Minimises J by second-order steps with a backtracking line search and Levenberg damping.

    Args:
        problem: the control problem.
        controls: the start.
        direction: which way: `riccati()` (default), `riccati(ddp=True)`, `gauss_newton_cg()`, or any function of
            (problem, adjoint, damping) that returns a Step, or None when the damped model has no minimum.
        iterations: at most this many directions.
        tolerance: on ‖∇J‖, absolute.
        damping: Levenberg's μ at the start. Default 0: on a linear-quadratic problem the first step is then exact.
        factor: μ falls by it after a full step that lowered J by more than ¾ of what the model said, and grows by it
            after a step shorter than ½, or with less than ¼ of that, or none; from 1e-4 of the curvature along the
            step, when it was 0. Default 10 (Marquardt 1963); ¼ and ¾ as in Nocedal & Wright 2006, algorithm 4.1.
        line_search: step lengths tried per direction, 1, ½, ¼, …; default 8.
        sufficient: the fall of J must be at least this share of what the slope promises (Armijo). Default 1e-4
            (Nocedal & Wright 2006, section 3.1).

    Returns:
        Solution; rows of its history have the columns damping and alpha.
    """
    chosen = riccati() if direction is None else direction
    log = Log(problem)
    problem = log.problem
    point = adjoint(problem, controls)
    residual = log.add(point, damping=damping, alpha=0.0)
    if not is_finite(point):
        return log.solution(point, Status.NOT_FINITE)
    for _ in range(iterations):
        if residual <= tolerance:
            return log.solution(point, Status.CONVERGED)
        step = chosen(problem, point, damping)
        found = None if step is None else _search(problem, point, step, line_search, sufficient)
        if step is None or found is None:
            if damping > 1e10:
                return log.solution(point, Status.STALLED)
            damping = _raised(damping, step, factor)
            continue
        before = point.trajectory.cost
        alpha, point = found
        residual = log.add(point, damping=damping, alpha=alpha)
        gain = float(before - point.trajectory.cost) / max(-(alpha * step.slope + alpha**2 * step.bend / 2), 1e-300)
        if alpha < 0.5 or gain < 0.25:
            damping = _raised(damping, step, factor)
        elif alpha == 1 and gain > 0.75:
            damping = damping / factor if damping > 1e-12 else 0.0
    return log.solution(point, Status.CONVERGED if residual <= tolerance else Status.ITERATION_LIMIT)


def _raised(damping: float, step: Step | None, factor: float) -> float:
    curvature = 1.0 if step is None else step.bend / max(step.squared_length, 1e-300)
    return max(damping, 1e-4 * curvature) * factor


def _search(
    problem: ControlProblem, point: Adjoint, step: Step, tries: int, sufficient: float
) -> tuple[float, Adjoint] | None:
    """The first of α = 1, ½, ¼, … that lowers J enough."""
    rounding = 8 * torch.finfo(point.trajectory.cost.dtype).eps * point.trajectory.cost.abs()
    for i in range(tries):
        alpha = 0.5**i
        proposed = adjoint(problem, step.controls(alpha))
        fall = point.trajectory.cost - proposed.trajectory.cost
        promised = -sufficient * alpha * step.slope
        if is_finite(proposed) and bool(fall >= promised - rounding):
            return alpha, proposed
    return None
