"""The inner minimisation of successive approximations: a smooth function of one control, freely or over a box."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy  # its names load their modules on first use
import torch
from torch import Tensor

Box = tuple[float, float]
"""(lower, upper), admissible for every coordinate."""


def minimize(objective: Callable[[Tensor], Tensor], start: Tensor, iterations: int, box: Box | None = None) -> Tensor:
    """argmin_u objective(u), near the start: L-BFGS with strong Wolfe line search, L-BFGS-B over a box.

    Over a box the minimiser is not the free one, clipped: where one coordinate is held at a bound, the others answer to
    that. For ½uᵀMu − cᵀu with M = [[2, 1.8], [1.8, 2]], c = (3, 1) the free minimiser is (5.53, −4.47), its clip to
    [−1, 1]² is (1, −1), the minimiser over the box is (1, −0.4).

    Args:
        objective: differentiable, u of shape (d,) -> scalar.
        start: u to start from, shape (d,); over a box it is clipped first.
        iterations: of the method, at most.
        box: (lower, upper) of every coordinate; None: no bounds.

    Returns:
        The minimiser, shape (d,): global where the objective is convex, else local.
    """
    return _free(objective, start, iterations) if box is None else _in_box(objective, start, iterations, box)


def _free(objective: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> Tensor:
    u = start.detach().clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [u], max_iter=iterations, history_size=iterations, tolerance_grad=0.0, tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        with torch.enable_grad():
            value = objective(u)
            (u.grad,) = torch.autograd.grad(value, u)
        return value

    optimizer.step(closure)
    return u.detach()


def _in_box(objective: Callable[[Tensor], Tensor], start: Tensor, iterations: int, box: Box) -> Tensor:
    """L-BFGS-B (Byrd, Lu, Nocedal & Zhu 1995), in float64 on the CPU; the objective runs where the start lies."""

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        u = torch.tensor(x).to(start).requires_grad_()  # a copy: the method writes over its x
        with torch.enable_grad():
            value = objective(u)
            (gradient,) = torch.autograd.grad(value, u)
        return float(value.detach()), gradient.double().cpu().numpy()

    found = scipy.optimize.minimize(
        value_and_gradient, start.detach().clamp(*box).double().cpu().numpy(), jac=True, method="L-BFGS-B",
        bounds=scipy.optimize.Bounds(*box),
        options={"maxiter": iterations, "maxcor": max(iterations, 1), "ftol": 0.0, "gtol": 0.0},
    )  # fmt: skip
    return torch.as_tensor(found.x).to(start).clamp(*box)
