"""Systems with known answers: linear-quadratic, double integrator, deep linear net, the residual toy of E-MSA."""

from __future__ import annotations

from itertools import pairwise
from math import pi

import torch
from torch import Tensor

from lab.control.lqr import LinearQuadratic
from lab.control.problem import ControlProblem, Dynamics


def linear_quadratic(
    A: Tensor | float,
    B: Tensor | float,
    Q: Tensor | float,
    R: Tensor | float,
    Q_end: Tensor | float,
    h0: Tensor | float,
    *,
    T: int | None = None,
) -> LinearQuadratic:
    """A linear-quadratic system from numbers, matrices, or matrices per time.

    Args:
        A: (n, n), or (T, n, n) when it varies in time; a number when n = 1. Likewise B, Q, R (n, m; n, n; m, m).
        B: see A.
        Q: see A.
        R: see A.
        Q_end: (n, n).
        h0: (n,).
        T: number of steps; not needed when A, B, Q or R varies in time.

    Returns:
        LinearQuadratic, float64 unless the tensors say otherwise.

    Raises:
        ValueError: no T, or one that contradicts the tensors.
    """
    per_time = [_matrix(x, 3) for x in (A, B, Q, R)]
    lengths = {x.shape[0] for x in per_time if x.ndim == 3} | ({T} if T is not None else set())
    if len(lengths) != 1:
        raise ValueError(f"give T, or one A, B, Q, R per time, and let them agree; got lengths {sorted(lengths)}.")
    (steps,) = lengths
    A_t, B_t, Q_t, R_t = (x if x.ndim == 3 else x.expand(steps, *x.shape) for x in per_time)
    return LinearQuadratic(A_t, B_t, Q_t, R_t, _matrix(Q_end, 2), _matrix(h0, 1).reshape(-1))


def double_integrator(T: int = 2, h0: tuple[float, float] = (0.0, 0.0), *, effort: float = 1.0) -> LinearQuadratic:
    """Position and velocity pushed by a force: A = [[1, 1], [0, 1]], B = [0, 1]ᵀ, Q = Q_end = 0, R = `effort`.

    Known answer: with T = 2 the controllability Gramian is [[1, 1], [1, 2]], and [1, 0] is reached from rest at the
    least energy Σu² = 2 by u = (1, −1).
    """
    A, B = torch.tensor([[1.0, 1.0], [0.0, 1.0]]).double(), torch.tensor([[0.0], [1.0]]).double()
    zero, start = torch.zeros(2, 2).double(), torch.tensor(h0).double()
    return linear_quadratic(A, B, zero, effort, zero, start, T=T)


def deep_linear(
    widths: tuple[int, ...] = (3, 4, 4, 2), n_samples: int = 16, *, decay: float = 0.0, seed: int = 0
) -> tuple[ControlProblem, list[Tensor]]:
    """A deep linear net on random data: h_{t+1} = h_t W_tᵀ, ℓ = ½ mean ‖h_T − Y‖², R_t = ½·decay·‖W_t‖².

    J is a quadratic in each W_t alone, so what second-order formulas say of one layer is exact.

    Args:
        widths: of h_0, …, h_T.
        n_samples: rows of h_0.
        decay: weight of R_t.
        seed: of data, target map and start.

    Returns:
        The problem, and controls drawn at random (variance 1/width) to start from.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    X = normal(n_samples, widths[0])
    Y = X @ normal(widths[0], widths[-1])

    def layer(n_in: int, n_out: int) -> Dynamics:
        return lambda h, u: h @ u.reshape(n_out, n_in).mT

    pairs = list(pairwise(widths))
    problem = ControlProblem(
        h0=X,
        dynamics=tuple(layer(a, b) for a, b in pairs),
        terminal_cost=lambda h: (h - Y).square().sum(-1).mean() / 2,
        sizes=tuple(a * b for a, b in pairs),
        running_costs=tuple((lambda h, u: decay * u.square().sum() / 2) for _ in pairs),
    )
    return problem, [normal(a * b) / a**0.5 for a, b in pairs]


def residual_toy(
    n_layers: int = 20,
    width: int = 5,
    step: float = 0.25,
    n_samples: int = 100,
    *,
    regularization: float = 1e-3,
    perturbation: float = 5e-3,
    seed: int = 0,
) -> tuple[ControlProblem, list[Tensor]]:
    """The toy of Li, Chen, Tai & E 2017: a residual net of tanh layers learns sin on [−π, π].

        h_{t+1} = h_t + step·tanh(h_t W_tᵀ + b_t),   h_0 = (x, …, x),   ℓ = mean (Σ_i h_T,i − sin x)²,
        R_t = ½·regularization·‖u_t‖²,   u_t = (W_t, b_t).

    Args:
        n_layers: T; 20 in the paper.
        width: 5 in the paper.
        step: 0.25 in the paper.
        n_samples: 100 in the authors' code, x uniform.
        regularization: 1e-3 in the authors' code.
        perturbation: standard deviation of the controls to start from; 5e-3 in the authors' code, whose weights start
            at 0, where the gradient says little.
        seed: of samples and start.

    Returns:
        The problem and the controls to start from.
    """
    generator = torch.Generator().manual_seed(seed)
    x = pi * (2 * torch.rand(n_samples, 1, generator=generator, dtype=torch.float64) - 1)
    size = width * width + width

    def layer(h: Tensor, u: Tensor) -> Tensor:
        W, b = u[: width * width].reshape(width, width), u[width * width :]
        return h + step * torch.tanh(h @ W.mT + b)

    problem = ControlProblem(
        h0=x.expand(n_samples, width),
        dynamics=(layer,) * n_layers,
        terminal_cost=lambda h: (h.sum(-1) - x[:, 0].sin()).square().mean(),
        sizes=(size,) * n_layers,
        running_costs=((lambda h, u: regularization * u.square().sum() / 2),) * n_layers,
    )
    start = perturbation * torch.randn(n_layers, size, generator=generator, dtype=torch.float64)
    return problem, list(start)


def _matrix(x: Tensor | float, max_ndim: int) -> Tensor:
    tensor = x if isinstance(x, Tensor) else torch.tensor([[float(x)]], dtype=torch.float64)
    if tensor.ndim > max_ndim and tensor.ndim != 2:
        raise ValueError(f"expected at most {max_ndim} dimensions; got shape {tuple(tensor.shape)}.")
    return tensor
