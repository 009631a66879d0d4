"""Fastfood on the CPU for blocks longer than the cache: the published form, and subspaces of more than 65,536
dimensions.

A block of length L = 2h is made half by half, since H_L (w_0; w_1) = (H_h (w_0 + w_1); H_h (w_0 - w_1)), each half in
place in the output where it fits; and as B x is zero beyond d, H_L B x is the tile H_n B x repeated, so no first
transform of length L is needed. Where the tile itself has length L, it too is made in halves. So passing memory is at
most L ≤ 2 D numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from lab.projections import kernels
from lab.projections.counter import gaussian_table
from lab.projections.fastfood_plan import Plan
from lab.projections.hadamard import transform_
from lab.projections.threads import limited_threads


def product(plan: Plan, x: Tensor, y: Tensor) -> None:
    """y ← P x for vectors x (d,), y (D,)."""
    h = plan.length // 2
    for block, first, count in _blocks(plan):
        upper = y[first : first + h] if count >= h else y.new_empty(h)
        lower = y[first + h : first + count] if count == plan.length else y.new_empty(h if count > h else 0)
        squares = np.zeros(h // kernels.PIECE)
        for part, (low, v) in enumerate(_tile(plan, block, x)):
            arrays = v.numpy(), low, block, plan.tile, upper.numpy(), lower.numpy()
            with limited_threads():
                kernels.spread(*arrays, part > 0, squares, _keys(plan), gaussian_table())
            del v, arrays  # before the next part is made
        scale = 1 / sqrt(plan.D * squares.sum())
        for start, half in ((first, upper), (first + h, lower)):
            if len(half):
                transform_(half)
                cut = half[: first + count - start]
                torch.mul(cut, scale, out=y[start : start + len(cut)])


def adjoint(plan: Plan, y: Tensor, x: Tensor) -> None:
    """x ← Pᵀ y for vectors y (D,), x (d,)."""
    h, parts = plan.length // 2, _parts(plan)
    m = plan.tile // parts
    chunks = 1 if plan.tile == plan.length else max(1, min(kernels.PARTS, plan.D // (8 * plan.tile)))
    x.zero_()
    for block, first, count in _blocks(plan):
        for part in range(parts):
            sums = y.new_zeros(chunks, m)
            total = 0.0
            for offset, sign in ((0, 1), (h, -1)):
                t = y.new_zeros(h)  # y_0 ± y_1
                t[: min(count, h)] = y[first : first + min(count, h)]
                if count > h:
                    t[: count - h].add_(y[first + h : first + count], alpha=sign)
                transform_(t)
                squares = np.zeros(h // kernels.PIECE)
                places = offset, sums.numpy(), part * m, block, plan.length, plan.tile
                with limited_threads():
                    kernels.collect(t.numpy(), *places, squares, _keys(plan), gaussian_table())
                total += squares.sum()
                del t
            u = sums.sum(0) if chunks > 1 else sums[0]
            transform_(u)
            u *= 1 / sqrt(plan.D * total)
            _add_signed(plan, block * plan.tile, u, x[:m])
            if parts == 2:  # H (u_0; u_1) = (H u_0 + H u_1; H u_0 - H u_1)
                _add_signed(plan, block * plan.tile + m, u, x[m:], negative=part == 1)
            del u, sums


def _blocks(plan: Plan) -> Iterator[tuple[int, int, int]]:
    """(block, first row, rows kept)."""
    for block in range(plan.groups):
        first = block * plan.length
        yield block, first, min(plan.length, plan.D - first)


def _parts(plan: Plan) -> int:
    return 2 if plan.tile == plan.length else 1


def _tile(plan: Plan, block: int, x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(place of the first number, H_n B x) in one part, or in two halves: H (a; b) = (H (a + b); H (a - b))."""
    m = plan.tile // _parts(plan)
    for part in range(_parts(plan)):
        v = x.new_zeros(m)
        _add_signed(plan, block * plan.tile, x[:m], v)
        if plan.d > m:
            _add_signed(plan, block * plan.tile + m, x[m:], v, negative=part == 1)
        transform_(v)
        yield part * m, v


def _add_signed(plan: Plan, first: int, source: Tensor, target: Tensor, *, negative: bool = False) -> None:
    """target += ± source · (signs first …), on the numbers both have."""
    count = min(len(source), len(target))
    arrays = target[:count].numpy(), source[:count].numpy()
    with limited_threads():
        kernels.add_flipped(*arrays, _keys(plan)[0], first, negative)


def _keys(plan: Plan) -> np.ndarray:
    return np.array(plan.keys, np.uint64)
