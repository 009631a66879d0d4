"""Makes a pair (product, adjoint product) a differentiable function, to any order and in both modes.

Needed where the products are kernels that autograd cannot see (numba, Triton) or must not record (a random matrix drawn
chunk by chunk). The derivative of a linear map is the map itself, so one Function covers vjp, jvp and vmap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


class _LinearMap(torch.autograd.Function):
    @staticmethod
    def forward(product: Product, adjoint: Product, X: Tensor) -> Tensor:
        return product(X)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.product, ctx.adjoint = inputs[:2]

    @staticmethod
    def backward(ctx: Any, G: Tensor) -> tuple[None, None, Tensor]:  # type: ignore[override]
        return None, None, _LinearMap.apply(ctx.adjoint, ctx.product, G)

    @staticmethod
    def jvp(ctx: Any, _product: None, _adjoint: None, tangent: Tensor) -> Tensor:  # type: ignore[override]
        return _LinearMap.apply(ctx.product, ctx.adjoint, tangent)

    @staticmethod
    def vmap(  # type: ignore[override]
        info: Any, in_dims: tuple[int | None, ...], product: Product, adjoint: Product, X: Tensor
    ) -> tuple[Tensor, int]:
        batched = X.movedim(in_dims[2] or 0, 1)  # (n, batch, k): the batch becomes more columns
        Y = _LinearMap.apply(product, adjoint, batched.reshape(batched.shape[0], -1))
        return Y.reshape(Y.shape[0], *batched.shape[1:]), 1


def linear_map(product: Product, adjoint: Product, X: Tensor) -> Tensor:
    """product(X) with derivatives by `adjoint`.

    Args:
        product: X (n, k) -> A X (m, k); any code, autograd does not look inside.
        adjoint: Y (m, k) -> Aᵀ Y (n, k); must be the exact adjoint.
        X: columns (n, k).

    Returns:
        A X, shape (m, k), differentiable to any order, in reverse and forward mode, and under `torch.vmap`.
    """
    return _LinearMap.apply(product, adjoint, X)
