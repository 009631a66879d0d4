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

Groups = range | np.ndarray
"""Numbers of groups of blocks, ascending."""


def product(plan: Plan, X: Tensor) -> Tensor:
    """P X for columns X (d, k)."""
    if in_cache(plan):
        return groups_product(plan, X, range(plan.groups), plan.D)
    if not _has_kernel(plan):
        return fastfood_reference.product(plan, X)
    rows, Y = X.T.contiguous(), empty_like_rows(X.shape[1], plan.D, X)
    for x, y in zip(rows, Y, strict=True):
        fastfood_long.product(plan, x, y)
    return Y.T


def adjoint(plan: Plan, Y: Tensor) -> Tensor:
    """Pᵀ Y for columns Y (D, k)."""
    if in_cache(plan):
        return groups_adjoint(plan, Y, range(plan.groups))
    if not _has_kernel(plan):
        return fastfood_reference.adjoint(plan, Y)
    rows, X = Y.T.contiguous(), Y.new_empty(Y.shape[1], plan.d)
    for y, x in zip(rows, X, strict=True):
        fastfood_long.adjoint(plan, y, x)
    return X.T


def groups_product(plan: Plan, X: Tensor, groups: Groups, length: int) -> Tensor:
    """The rows of P X in some groups, group after group, the first `length` of them: (length, k).

    Only these groups are drawn and transformed. The plan must be `in_cache`.
    """
    rows, Y = X.T.contiguous(), empty_like_rows(X.shape[1], length, X)
    padded = torch.nn.functional.pad(rows, (0, plan.tile - plan.d))
    expanded = padded.repeat_interleave(plan.lanes, dim=1).contiguous().numpy()
    with limited_threads():
        for c in range(0, len(rows), COLUMNS):
            kernels.fastfood_products(
                expanded[c : c + COLUMNS], Y[c : c + COLUMNS].numpy(), _numbers(groups), *_facts(plan)
            )
    return Y.T


def groups_adjoint(plan: Plan, Y: Tensor, groups: Groups) -> Tensor:
    """Pᵀ Y for a Y that is zero outside some groups and is given there, group after group; the last may be cut short.

    The plan must be `in_cache`.
    """
    rows, X = Y.T.contiguous(), Y.new_empty(Y.shape[1], plan.d)
    for c in range(0, len(rows), COLUMNS):
        some = rows[c : c + COLUMNS]
        sums = Y.new_empty(min(len(groups), kernels.PARTS), len(some), plan.tile * plan.lanes)
        with limited_threads():
            kernels.fastfood_adjoint(some.numpy(), sums.numpy(), _numbers(groups), *_facts(plan))
        X[c : c + COLUMNS] = sums.reshape(-1, len(some), plan.tile, plan.lanes).sum((0, 3))[:, : plan.d]
    return X.T


def in_cache(plan: Plan) -> bool:
    """Whether groups are transformed one per thread; they must be whole 64-bit words of signs."""
    return plan.length == plan.tile <= CACHED and plan.length * plan.lanes >= 64


def _has_kernel(plan: Plan) -> bool:
    """Small published maps are left to the reference."""
    return in_cache(plan) or plan.length >= kernels.TILE


def _numbers(groups: Groups) -> np.ndarray:
    return np.asarray(groups, dtype=np.int64)


def _facts(plan: Plan) -> tuple[int, int, int, np.ndarray, np.ndarray]:
    return plan.tile, plan.lanes, plan.D, np.array(plan.keys, np.uint64), gaussian_table()
