"""What controls of a given size reach, beyond first order, and which of it a later output still shows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lab.control.gramian import Observed, control_jacobian, observed
from lab.control.problem import ControlProblem, Trajectory, advance
from lab.linalg import LinearOperator, RecordedJacobian


def empirical_gramian(
    problem: ControlProblem, trajectory: Trajectory, radius: float, *, at: Observed = "end", n_samples: int = 64,
    seed: int = 0,
) -> Tensor:  # fmt: skip
    """W_ε = (d/ε²)·E Δy Δyᵀ, Δy = y(φ + δ) − y(φ) with δ uniform on the sphere of radius ε: (n, n).

    Lall, Marsden & Glavaški 2002, with random directions in place of a basis. As ε → 0 it is the Gramian W = J Jᵀ; at
    finite ε it sees what first order cannot. y = ab at 0 has W = 0 and W_ε = ε²/4.

    Args:
        problem: the control problem.
        trajectory: where φ is.
        radius: ε > 0.
        at: which y; see `gramian`.
        n_samples: δ drawn, each with −δ. The relative error of the trace is about √(2/(rank·n_samples)).
        seed: of the draw.

    Raises:
        ValueError: a radius that is not positive, or no sample.
    """
    if not radius > 0 or n_samples < 1:
        raise ValueError(f"expected radius > 0 and one sample or more; got {radius} and {n_samples}.")
    stop, observe = observed(problem, at)
    phi = problem.join(trajectory.controls).detach()
    generator = torch.Generator(phi.device).manual_seed(seed)

    def y(x: Tensor) -> Tensor:
        return observe(advance(problem, 0, problem.h0, problem.split(x)[:stop])).reshape(-1)

    with torch.no_grad():
        start = y(phi)
        total = start.new_zeros(len(start), len(start))
        for _ in range(n_samples):
            direction = torch.randn(phi.shape, generator=generator, dtype=phi.dtype, device=phi.device)
            delta = direction * (radius / torch.linalg.vector_norm(direction))
            for signed in (delta, -delta):
                change = y(phi + signed) - start
                total += torch.outer(change, change)
    return total * (len(phi) / (2 * n_samples * radius**2))


def observability_jacobian(
    problem: ControlProblem, trajectory: Trajectory, cut: int, *, at: Observed = "logits"
) -> LinearOperator:
    """C_t = ∂y/∂h_t (numel y, numel h_t) along a trajectory: what y shows of the state at a cut t.

    W_o = C_tᵀC_t is the observability Gramian of that state for an output that is read once, at the end.

    Raises:
        ValueError: a cut at which y is already read, or before the first state.
    """
    stop, observe = observed(problem, at)
    if not 0 <= cut <= stop:
        raise ValueError(f"the cut is the index of a state from 0 to where y is read, {stop}; got {cut}.")
    us, h = trajectory.controls, trajectory.states[cut]
    return RecordedJacobian(lambda x: observe(advance(problem, cut, x.view(h.shape), us[cut:stop])), h.reshape(-1))


@dataclass(frozen=True, eq=False)
class Balanced:
    """Hankel values at a cut, and the directions of h_t that are reached and seen in equal measure.

    With R_t = [Φ B]_{s<t} and the decomposition C_t R_t = U Σ Vᵀ (Moore 1981): Zᵀ W_c Z = Xᵀ W_o X = Σ and ZᵀX = 1.

    Attributes:
        values: Σ, (k,), decreasing: how strongly a direction can be driven through the cut and shows in y.
        states: X = R_t V Σ^{−½}, (numel h_t, k): changes of h_t.
        readings: Z = C_tᵀ U Σ^{−½}, (numel h_t, k): what reads their coordinates off a change of h_t, x = X (Zᵀ δh).
    """

    values: Tensor
    states: Tensor
    readings: Tensor


def balanced(
    problem: ControlProblem, trajectory: Trajectory, cut: int, *, at: Observed = "logits", k: int | None = None
) -> Balanced:
    """The Hankel values σ_i = √eig(W_c W_o) at a cut and their balanced directions.

    y has few entries, so C_t R_t is formed by its rows: it is ∂y/∂(u_0, …, u_{t−1}). A direction with a large value is
    both cheap to reach and large in the output; principal components of h_t know of neither.

    Args:
        problem: the control problem.
        trajectory: where to linearise.
        cut: t, from 1 to where y is read.
        at: which y; see `gramian`.
        k: directions; default all whose value exceeds rounding.

    Raises:
        ValueError: a cut without controls before it.
    """
    if not cut > 0:
        raise ValueError(f"a balanced direction needs controls before the cut; got {cut}.")
    C = observability_jacobian(problem, trajectory, cut, at=at)
    R = control_jacobian(problem, trajectory, at=cut)
    eye = torch.eye(C.shape[0], dtype=C.dtype, device=C.device)
    seen = C.T @ eye
    U, values, Vh = torch.linalg.svd((R.T @ seen).T, full_matrices=False)
    kept = int((values > len(values) * torch.finfo(values.dtype).eps * values[0]).sum()) if values[0] > 0 else 0
    count = kept if k is None else min(k, kept)
    scale = values[:count].rsqrt()
    return Balanced(values[:count], (R @ Vh[:count].T) * scale, (seen @ U[:, :count]) * scale)
