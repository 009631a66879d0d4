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

Places = Tensor | slice
"""Ascending int64 (k,), or from start to stop, as `Projection.rows` has checked them."""

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


def rows_product(plan: Plan, X: Tensor, places: Places) -> Tensor:
    """(P X)[places] (rows, k): only the groups that hold one of the places are drawn. The plan must be `in_cache`."""
    facts = _facts(plan, places)
    rows, Y = X.T.contiguous(), empty_like_rows(X.shape[1], _length(places), X)
    padded = torch.nn.functional.pad(rows, (0, plan.tile - plan.d))
    expanded = padded.repeat_interleave(plan.lanes, dim=1).contiguous().numpy()
    with limited_threads():
        for c in range(0, len(rows), COLUMNS):
            kernels.fastfood_products(expanded[c : c + COLUMNS], Y[c : c + COLUMNS].numpy(), *facts)
    return Y.T


def rows_adjoint(plan: Plan, Y: Tensor, places: Places) -> Tensor:
    """P[places]ᵀ Y for columns Y (rows, k). The plan must be `in_cache`."""
    facts = _facts(plan, places)
    rows, X = Y.T.contiguous(), Y.new_empty(Y.shape[1], plan.d)
    for c in range(0, len(rows), COLUMNS):
        some = rows[c : c + COLUMNS]
        sums = Y.new_empty(min(len(facts[0]), kernels.PARTS), len(some), plan.tile * plan.lanes)
        with limited_threads():
            kernels.fastfood_adjoint(some.numpy(), sums.numpy(), *facts)
        X[c : c + COLUMNS] = sums.sum(0).view(-1, plan.tile, plan.lanes).sum(2)[:, : plan.d]
    return X.T


def in_cache(plan: Plan) -> bool:
    """Whether groups are transformed one per thread; they must be whole 64-bit words of signs."""
    return plan.length == plan.tile <= CACHED and plan.length * plan.lanes >= 64


def _has_kernel(plan: Plan) -> bool:
    """Small published maps are left to the reference."""
    return in_cache(plan) or plan.length >= kernels.TILE


def _length(places: Places) -> int:
    return places.stop - places.start if isinstance(places, slice) else len(places)


def _facts(plan: Plan, places: Places) -> tuple:
    """What the kernels take after their vectors: the groups, where each one's rows start, the places, the plan."""
    size = plan.length * plan.lanes
    run = isinstance(places, slice)
    numbers = np.empty(0, np.int64) if run else places.numpy()
    first, last = (places.start, places.stop - 1) if run else (int(places[0]), int(places[-1]))
    groups = np.arange(first // size, last // size + 1)
    borders = np.append(groups, groups[-1] + 1) * size
    starts = np.clip(borders - first, 0, last + 1 - first) if run else np.searchsorted(numbers, borders)
    if not run:
        held = np.diff(starts) > 0
        groups, starts = groups[held], np.append(starts[:-1][held], len(numbers))
    keys, table = np.array(plan.keys, np.uint64), gaussian_table()
    return groups, starts, numbers, first if run else 0, plan.tile, plan.lanes, plan.D, keys, table
