"""Fastfood on the CPU: chooses the kernel, hands it rows in memory order, adds up what its pieces return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab.projections import fastfood_long, fastfood_reference, kernels
from lab.projections.counter import gaussian_table
from lab.projections.fastfood_plan import Plan
from lab.projections.memory import empty_like_rows
from lab.projections.places import Places, addresses, in_groups, length
from lab.projections.threads import limited_threads

CACHED = 1 << 16  # longest block that one thread transforms in its own cache
COLUMNS = 8  # columns that share one drawing of the random numbers


def product(plan: Plan, X: Tensor) -> Tensor:
    """P X for columns X (d, k)."""
    if in_cache(plan):
        return rows_product(plan, X, slice(0, plan.D))
    if not _has_kernel(plan):
        return fastfood_reference.product(plan, X)
    rows, Y = X.T.contiguous(), empty_like_rows(X.shape[1], plan.D, X)
    for x, y in zip(rows, Y, strict=True):
        fastfood_long.product(plan, x, y)
    return Y.T


def adjoint(plan: Plan, Y: Tensor) -> Tensor:
    """Pᵀ Y for columns Y (D, k)."""
    if in_cache(plan):
        return rows_adjoint(plan, Y, slice(0, plan.D))
    if not _has_kernel(plan):
        return fastfood_reference.adjoint(plan, Y)
    rows, X = Y.T.contiguous(), Y.new_empty(Y.shape[1], plan.d)
    for y, x in zip(rows, X, strict=True):
        fastfood_long.adjoint(plan, y, x)
    return X.T


def rows_product(plan: Plan, X: Tensor, places: Places, origin: Sequence[Tensor] = ()) -> Tensor:
    """(P X)[places] (rows, k): only the groups that hold one of the places are drawn. The plan must be `in_cache`.

    Args:
        origin: added, to one column: a vector (rows,) in parts, one after the other, of the dtype of X.
    """
    facts, (parts, borders) = _facts(plan, places), addresses([origin])
    rows, Y = X.T.contiguous(), empty_like_rows(X.shape[1], length(places), X)
    padded = torch.nn.functional.pad(rows, (0, plan.tile - plan.d))
    expanded = padded.repeat_interleave(plan.lanes, dim=1).contiguous().numpy()
    with limited_threads():
        for c in range(0, len(rows), COLUMNS):
            kernels.fastfood_products(expanded[c : c + COLUMNS], Y[c : c + COLUMNS].numpy(), parts, borders, *facts)
    return Y.T


def rows_adjoint(plan: Plan, Y: Tensor, places: Places) -> Tensor:
    """P[places]ᵀ Y for columns Y (rows, k). The plan must be `in_cache`."""
    return parts_adjoint(plan, [[row] for row in Y.T.contiguous()], places, Y)


def parts_adjoint(plan: Plan, columns: Sequence[Sequence[Tensor]], places: Places, like: Tensor) -> Tensor:
    """The same for columns that lie in parts, one after the other, each contiguous and of like's dtype: (d, k)."""
    facts, (parts, borders) = _facts(plan, places), addresses(columns)
    X = like.new_empty(len(columns), plan.d)
    for c in range(0, len(columns), COLUMNS):
        some = parts[c : c + COLUMNS]
        sums = like.new_empty(min(len(facts[0]), kernels.PARTS), len(some), plan.tile * plan.lanes)
        with limited_threads():
            kernels.fastfood_adjoint(sums.numpy(), some, borders, *facts)
        X[c : c + COLUMNS] = sums.sum(0).view(-1, plan.tile, plan.lanes).sum(2)[:, : plan.d]
    return X.T


def in_cache(plan: Plan) -> bool:
    """Whether groups are transformed one per thread; they must be whole 64-bit words of signs."""
    return plan.length == plan.tile <= CACHED and plan.length * plan.lanes >= 64


def _has_kernel(plan: Plan) -> bool:
    """Small published maps are left to the reference."""
    return in_cache(plan) or plan.length >= kernels.TILE


def _facts(plan: Plan, places: Places) -> tuple[Any, ...]:
    """What the kernels take after their vectors: the groups, where each one's rows start, the places, the plan."""
    keys, table = np.array(plan.keys, np.uint64), gaussian_table()
    return *in_groups(places, plan.length * plan.lanes), plan.tile, plan.lanes, plan.D, keys, table
