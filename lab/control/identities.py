"""The identities of the maximum principle, checked on a control problem: what they should equal, by other ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import Tensor

from lab.control.pontryagin import adjoint, costates, hamiltonian_slope
from lab.control.problem import ControlProblem, cost_to_go


def identities(
    problem: ControlProblem, loss: Callable[[Tensor], Tensor], phi0: Tensor, *, seed: int = 0
) -> pd.DataFrame:
    """Relative errors of the identities along the trajectory of a φ that is off φ₀ in every coordinate.

    * gradient: ∇_u H_t by each stage alone, against −∇_φ J of the PLM's own forward pass;
    * costate: p_t by the recursion, against one backward pass through the whole chain (both: of the largest entry);
    * difference: ⟨p_t, v⟩ against −dJ/dε by a five-point difference of J along v = p_t/‖p_t‖ in h_t. Its step is 1e-4
        of the state's size where v moves it, √Σv²h²; ‖h‖ would be that of a few outliers in a decoder.

    Args:
        problem: in float64.
        loss: J(φ) by a forward pass of its own.
        phi0: (d,), float64.
        seed: of the step off φ₀, Gaussian with standard deviation 0.02.

    Returns:
        One row per stage and identity: stage, t, identity, error.
    """
    noise = torch.randn(len(phi0), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    phi = phi0 + 0.02 * noise
    at = adjoint(problem, problem.split(phi))
    us, hs = at.trajectory.controls, at.trajectory.states
    p = costates(problem, at.trajectory, recursion=True)
    x = phi.clone().requires_grad_()
    gradient = problem.split(-torch.autograd.grad(loss(x), x)[0])
    rows = []
    for t, name in enumerate(problem.names):
        if problem.sizes[t]:
            slope = hamiltonian_slope(problem, t, hs[t], p[t + 1], us[t])
            rows.append((name, t, "gradient", _relative(slope, gradient[t])))
        if hs[t].numel():
            rows.append((name, t, "costate", _relative(p[t], at.costates[t])))
            rows.append((name, t, "difference", _difference_error(problem, t, hs[t], us[t:], p[t])))
    return pd.DataFrame(rows, columns=["stage", "t", "identity", "error"])


def _difference_error(problem: ControlProblem, t: int, h: Tensor, us: Sequence[Tensor], p: Tensor) -> float:
    length = torch.linalg.vector_norm(p)
    if not length > 0:
        return 0.0
    v = p / length
    step = 1e-4 * float(torch.linalg.vector_norm(v * h))
    with torch.no_grad():
        J = [cost_to_go(problem, t, h + k * step * v, us) for k in (-2, -1, 1, 2)]
    slope = (J[0] - 8 * J[1] + 8 * J[2] - J[3]) / (12 * step)
    return float((length + slope).abs() / length)


def _relative(got: Tensor, expected: Tensor) -> float:
    scale = expected.abs().max()
    return float((got - expected).abs().max() / scale) if scale > 0 else float(got.abs().max())
