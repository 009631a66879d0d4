"""Counts what is asked of the blocks of a control problem, by hooks at their entrances.

Every stage's (h_t, u_t) passes through the identity of an autograd Function. A derivative through the stage passes
there too, whoever asks for it and however: backward sweeps, `torch.func` transforms, derivatives of derivatives,
batches of them. So the solvers' costs are measured, not declared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lab.control.problem import ControlProblem, Dynamics
from lab.linalg.differentiable import autograd_batch_size

Tell = Callable[[str, float], None]
EVALUATIONS, PRODUCTS = "evaluations", "block products"


def counted(problem: ControlProblem, tell: Tell) -> ControlProblem:
    """The same problem, whose stages tell what they are asked for.

    Args:
        problem: the control problem.
        tell: (what, how many) of one block:
            "evaluations", of f_t;
            "block products": derivatives of one block applied to one vector, J_tᵀy by a backward pass, J_t v in forward
            mode, or the derivative of such a product (the second backward pass of a Hessian–vector product). k columns
            under one vmap are k products.
    """

    def stage(f: Dynamics) -> Dynamics:
        return lambda h, u: f(*_Entrance.apply(tell, EVALUATIONS, 1, h, u))

    return replace(problem, dynamics=tuple(map(stage, problem.dynamics)))


class _Entrance(torch.autograd.Function):
    """(h, u) ↦ (h, u), its derivatives too; each tells that it was run."""

    @staticmethod
    def forward(tell: Tell, what: str, times: int, h: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        tell(what, times * max(autograd_batch_size(h), autograd_batch_size(u)))
        return h.view_as(h), u.view_as(u)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.tell, _, ctx.times = inputs[:3]

    @staticmethod
    def backward(ctx: Any, g_h: Tensor, g_u: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        return None, None, None, *_Entrance.apply(ctx.tell, PRODUCTS, ctx.times, g_h, g_u)

    @staticmethod
    def jvp(ctx: Any, _tell: None, _what: None, _times: None, h: Tensor, u: Tensor) -> Any:  # type: ignore[override]
        return _Entrance.apply(ctx.tell, PRODUCTS, ctx.times, h, u)

    @staticmethod
    def vmap(  # type: ignore[override]
        info: Any, in_dims: tuple[int | None, ...], tell: Tell, what: str, times: int, h: Tensor, u: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[int | None, int | None]]:
        return _Entrance.apply(tell, what, times * info.batch_size, h, u), (in_dims[3], in_dims[4])
