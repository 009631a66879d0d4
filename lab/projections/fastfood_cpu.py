"""Fastfood on the CPU: chooses the kernel, hands it rows in memory order, adds up what its pieces return."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lab.projections import fastfood_long, fastfood_reference, kernels
from lab.projections.counter import gaussian_table
from lab.projections.fastfood_plan import Plan
from lab.projections.memory import empty_like_rows
from lab.projections.threads import limited_threads

CACHED = 1 << 16  # longest block that one thread transforms in its own cache
COLUMNS = 8  # columns that share one drawing of the random numbers


def product(plan: Plan, X: Tensor) -> Tensor:
    """P X for columns X (d, k)."""
    if not _has_kernel(plan):
        return fastfood_reference.product(plan, X)
    rows, Y = X.T.contiguous(), empty_like_rows(X.shape[1], plan.D, X)
    if _in_cache(plan):
        for first in range(0, len(rows), COLUMNS):
            _grouped_product(plan, rows[first : first + COLUMNS], Y[first : first + COLUMNS])
    else:
        for x, y in zip(rows, Y, strict=True):
            fastfood_long.product(plan, x, y)
    return Y.T


def adjoint(plan: Plan, Y: Tensor) -> Tensor:
    """Pᵀ Y for columns Y (D, k)."""
    if not _has_kernel(plan):
        return fastfood_reference.adjoint(plan, Y)
    rows, X = Y.T.contiguous(), Y.new_empty(Y.shape[1], plan.d)
    if _in_cache(plan):
        for first in range(0, len(rows), COLUMNS):
            _grouped_adjoint(plan, rows[first : first + COLUMNS], X[first : first + COLUMNS])
    else:
        for y, x in zip(rows, X, strict=True):
            fastfood_long.adjoint(plan, y, x)
    return X.T


def _in_cache(plan: Plan) -> bool:
    """Whether groups are transformed one per thread; they must be whole 64-bit words of signs."""
    return plan.length == plan.tile <= CACHED and plan.length * plan.lanes >= 64


def _has_kernel(plan: Plan) -> bool:
    """Small published maps are left to the reference."""
    return _in_cache(plan) or plan.length >= kernels.TILE


def _grouped_product(plan: Plan, X: Tensor, Y: Tensor) -> None:
    padded = torch.nn.functional.pad(X, (0, plan.tile - plan.d))
    expanded = padded.repeat_interleave(plan.lanes, dim=1).contiguous()
    keys = np.array(plan.keys, np.uint64)
    with limited_threads():
        kernels.fastfood_products(expanded.numpy(), Y.numpy(), plan.tile, plan.lanes, keys, gaussian_table())


def _grouped_adjoint(plan: Plan, Y: Tensor, X: Tensor) -> None:
    sums = Y.new_empty(min(plan.groups, kernels.PARTS), Y.shape[0], plan.tile * plan.lanes)
    keys = np.array(plan.keys, np.uint64)
    with limited_threads():
        kernels.fastfood_adjoint(Y.numpy(), sums.numpy(), plan.tile, plan.lanes, keys, gaussian_table())
    X[:] = sums.reshape(-1, Y.shape[0], plan.tile, plan.lanes).sum((0, 3))[:, : plan.d]
