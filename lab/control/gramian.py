"""The controllability Gramian of a state and the least energy that moves it.

With J = ∂y/∂φ, y an observed state (or a function of the last one), the Gramian W = J Jᵀ = Σ_t Φ_t B_t B_tᵀ Φ_tᵀ says
which changes of y the controls can make, and at what price: a change z costs at least ‖δφ‖² = zᵀW⁺z, attained by
δφ = JᵀW⁺z. Its spectrum is that of JᵀJ (Gauss–Newton without the loss), and with y = logits W is the delta's NTK.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.control.problem import ControlProblem, Trajectory, advance, require_path
from lab.faces import outlined
from lab.linalg import LinearOperator, RecordedJacobian, Structure, conjugate_gradients

Observed = str | int | Callable[[Tensor], Tensor] | tuple[str | int, Callable[[Tensor], Tensor]]


class Gramian(LinearOperator):
    """W = J Jᵀ, symmetric positive semi-definite (n, n); a product is one product with Jᵀ and one with J.

    Attributes:
        jacobian: J (n, d).
    """

    structure = Structure.POSITIVE_SEMIDEFINITE

    def __init__(self, jacobian: LinearOperator):
        self.jacobian = jacobian
        n = jacobian.shape[0]
        self.shape, self.dtype, self.device = (n, n), jacobian.dtype, jacobian.device

    def _matmat(self, X: Tensor) -> Tensor:
        return self.jacobian @ (self.jacobian.T @ X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self._matmat(Y)


def control_jacobian(problem: ControlProblem, trajectory: Trajectory, *, at: Observed = "end") -> LinearOperator:
    """J = ∂y/∂φ (numel y, d) along a trajectory; `at` as in `gramian`."""
    stop, observe = observed(problem, at)

    def reached(phi: Tensor) -> Tensor:
        return observe(advance(problem, 0, problem.h0, problem.split(phi)[:stop]))

    return RecordedJacobian(reached, problem.join(trajectory.controls))


def layer_jacobians(problem: ControlProblem, trajectory: Trajectory, *, at: Observed = "end") -> list[LinearOperator]:
    """J_t = Φ_t B_t = ∂y/∂u_t (numel y, d_t) for every stage before y; each runs the chain from stage t on only."""
    stop, observe = observed(problem, at)
    us, hs = trajectory.controls, trajectory.states

    def from_stage(t: int) -> LinearOperator:
        return RecordedJacobian(lambda u: observe(advance(problem, t, hs[t], [u, *us[t + 1 : stop]])), us[t])

    return [from_stage(t) for t in range(stop)]


def gramian(
    problem: ControlProblem, trajectory: Trajectory, *, at: Observed = "end", per_layer: bool = False
) -> Gramian | list[Gramian]:
    """W = Σ_t Φ_t B_t B_tᵀ Φ_tᵀ, the controllability Gramian along a trajectory, as an operator.

    Args:
        problem: the control problem.
        trajectory: where to linearise, from `rollout`.
        at: which y: "end" (default), the state that leaves the last layer; "logits", what the readout makes of it; the
            index t of a state h_t; a function of the last state h_T, e.g. one logit margin; or a pair, e.g.
            ("end", f): a function of the state so named.
        per_layer: the terms W_t of the sum instead, one operator per stage before y.

    Returns:
        Operator(s) on flattened y. The chain's passes are recorded once; a product is then one backward pass and one
        backward pass through that (`RecordedJacobian`). Algorithms of `lab.linalg` take it from there: `lanczos` for
        the spectrum, `hutchpp_trace`, …

    Raises:
        TypeError: something else than a control problem and a trajectory.
        ValueError: "logits" on a problem without a readout, an unknown name, or an index that is no state.
    """
    require_path("gramian", problem, trajectory)
    if per_layer:
        return [Gramian(J) for J in layer_jacobians(problem, trajectory, at=at)]
    return Gramian(control_jacobian(problem, trajectory, at=at))


@outlined
@dataclass(frozen=True, eq=False)
class MinimumEnergy:
    """The least control that moves y by z to first order, and what it really does.

    Attributes:
        energy: ‖δφ‖² = zᵀW⁺z, scalar.
        control: δφ = JᵀW⁺z, shape (d,); add it to φ.
        predicted: J δφ, the part of z that first order can reach, shape of y flattened.
        unreachable: ‖z − J δφ‖ / ‖z‖, scalar: 0 iff z is in the range of W (and the solver has converged).
        achieved: y(φ + δφ) − y(φ), what happens when it is applied, shape of y flattened.
        iterations: products with J and Jᵀ spent.
        converged: whether the normal equations' residual fell below the tolerance.
    """

    energy: Tensor
    control: Tensor
    predicted: Tensor
    unreachable: Tensor
    achieved: Tensor
    iterations: int
    converged: bool


def minimum_energy(
    problem: ControlProblem,
    trajectory: Trajectory,
    target: Tensor,
    *,
    at: Observed = "end",
    tolerance: float = 1e-10,
    iterations: int | None = None,
) -> MinimumEnergy:
    """The smallest ‖δφ‖ whose first-order effect on y is `target`, or comes closest to it.

    The least-norm least-squares solution δφ = J⁺z = JᵀW⁺z by conjugate gradients on JᵀJ δφ = Jᵀz, which
    never forms W and needs no inverse of it; z need not be reachable.

    Known answer: double integrator, two steps, z = (1, 0): energy 2, u = (1, −1).

    Args:
        problem: the control problem.
        trajectory: where to linearise.
        target: z, the wanted change of y, of y's shape.
        at: which y; see `gramian`.
        tolerance: on ‖Jᵀ(z − Jδφ)‖ relative to ‖Jᵀz‖. Default 1e-10, for float64; 1e-4 is what float32 can hold.
        iterations: at most this many; default min(n, d) + 10. Few iterations regularise: directions of small
            singular value, which are expensive to reach, come in last.

    Raises:
        ValueError: the target's size is not y's.
    """
    J = control_jacobian(problem, trajectory, at=at)
    if target.numel() != J.shape[0]:
        raise ValueError(f"the target must have as many entries as y, {J.shape[0]}; got shape {tuple(target.shape)}.")
    z = target.reshape(-1)
    limit = min(J.shape) + 10 if iterations is None else iterations
    solve = conjugate_gradients(J.T @ J, J.T @ z, tol=tolerance, max_iterations=limit)
    delta = solve.solution  # CG from 0 stays in the range of Jᵀ, so its limit is the least-norm solution
    predicted = J @ delta
    stop, observe = observed(problem, at)
    phi = problem.join(trajectory.controls)
    before, after = (
        observe(advance(problem, 0, problem.h0, problem.split(x)[:stop])).reshape(-1) for x in (phi, phi + delta)
    )
    length = torch.linalg.vector_norm(z).clamp_min(torch.finfo(z.dtype).tiny)
    unreachable = torch.linalg.vector_norm(z - predicted) / length
    return MinimumEnergy(
        delta @ delta, delta, predicted, unreachable, after - before, solve.iterations, solve.converged
    )


def observed(problem: ControlProblem, at: Observed) -> tuple[int, Callable[[Tensor], Tensor]]:
    """(number of stages before y, map from that state to y)."""
    if callable(at):
        return problem.T, at
    if isinstance(at, tuple):
        place, function = at
        return observed(problem, place)[0], function
    named = {"end": problem.end, "logits": problem.T if problem.end != problem.T else None}
    stop = named.get(at) if isinstance(at, str) else at
    if stop is None or not 0 < stop <= problem.T:
        raise ValueError(
            f'at must be "end", "logits" (problems with a readout), a state index 1 … {problem.T}, a function of the '
            f"last state, or a pair of a state and its function; got {at!r}."
        )
    return stop, lambda h: h
