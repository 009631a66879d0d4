"""Makes a pair (product, adjoint product) a differentiable function, to any order and in both modes.

Needed where the products are kernels that autograd cannot see (numba, Triton) or must not record (a random matrix drawn
chunk by chunk). The derivative of a linear map is the map itself, so one Function covers vjp, jvp and vmap.

`torch.autograd` batches derivatives by another vmap than `torch.func` (`autograd.grad(…, is_grads_batched=True)`, hence
`autograd.functional.jacobian(…, vectorize=True)`): it knows no rule of a Function and hands its own batched tensors to
the kernels. Those are opened here, by torch's internal names, and their batch becomes more columns as well.
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
        return None, None, linear_map(ctx.adjoint, ctx.product, G)

    @staticmethod
    def jvp(ctx: Any, _product: None, _adjoint: None, tangent: Tensor) -> Tensor:  # type: ignore[override]
        return linear_map(ctx.product, ctx.adjoint, tangent)

    @staticmethod
    def vmap(  # type: ignore[override]
        info: Any, in_dims: tuple[int | None, ...], product: Product, adjoint: Product, X: Tensor
    ) -> tuple[Tensor, int]:
        return _as_columns(product, adjoint, X.movedim(in_dims[2] or 0, 1)), 1


def linear_map(product: Product, adjoint: Product, X: Tensor) -> Tensor:
    """product(X) with derivatives by `adjoint`.

    Args:
        product: X (n, k) -> A X (m, k); any code, autograd does not look inside.
        adjoint: Y (m, k) -> Aᵀ Y (n, k); must be the exact adjoint.
        X: columns (n, k).

    Returns:
        A X, shape (m, k), differentiable to any order, in reverse and forward mode, and under `torch.vmap`.
    """
    if not torch._C._functorch.is_legacy_batchedtensor(X):
        return _LinearMap.apply(product, adjoint, X)
    level = _autograd_vmap_level()
    opened = torch._remove_batch_dim(X, level, 1, 0)  # (batch, n, k); the 1 is a batch size, read where X has none
    Y = _as_columns(product, adjoint, opened.movedim(0, 1)).movedim(1, 0)
    return torch._add_batch_dim(Y.contiguous(), 0, level)  # its as_strided, in forward mode, wants the batch in front


def _as_columns(product: Product, adjoint: Product, X: Tensor) -> Tensor:
    """X (n, batch, k) -> A X (m, batch, k): the batch becomes more columns."""
    Y = linear_map(product, adjoint, X.reshape(X.shape[0], -1))
    return Y.reshape(Y.shape[0], *X.shape[1:])


def autograd_batch_size(X: Tensor) -> int:
    """How many tensors X stands for under `torch.autograd`'s own vmap; 1 outside of it."""
    if not torch._C._functorch.is_legacy_batchedtensor(X):
        return 1
    opened = torch._remove_batch_dim(X, _autograd_vmap_level(), 1, 0)
    return opened.shape[0]


def _autograd_vmap_level() -> int:
    """The innermost level of `torch.autograd`'s own vmap."""
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    return level
