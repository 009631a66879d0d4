"""Fastfood as a Triton kernel: one program draws, transforms and writes one group of blocks in registers.

Only the permutation goes through memory, the group's own piece of it, which stays in cache. Imported only where triton
is installed. It computes what `fastfood_reference` defines, with the same bits drawn: only the order of a few sums
differs.
"""

# mypy: allow-incomplete-defs, allow-untyped-defs

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from lab.projections.counter import gaussian_table_on
from lab.projections.fastfood_plan import GROUP, Plan
from lab.projections.kernels import ROUNDS

_GOLDEN = tl.constexpr(0x9E3779B97F4A7C15)
_MIX_1 = tl.constexpr(0xBF58476D1CE4E5B9)
_MIX_2 = tl.constexpr(0x94D049BB133111EB)
_ROUNDS = tl.constexpr(ROUNDS)


def has_kernel(plan: Plan) -> bool:
    """Whether a group fits in the registers of one program; longer blocks are left to the reference."""
    return plan.length == plan.tile and plan.length * plan.lanes <= GROUP


def product(plan: Plan, X: Tensor) -> Tensor:
    """P X for columns X (d, k)."""
    x = X.T.contiguous()
    Y = X.new_empty(X.shape[1], plan.groups * plan.tile * plan.lanes)  # whole groups: they permute their rows there
    _product_kernel[(plan.groups, X.shape[1])](
        x, Y, gaussian_table_on(X.device), *_keys(plan), plan.D, plan.d, **_sizes(plan), num_warps=_warps(plan)
    )
    return Y[:, : plan.D].T


def adjoint(plan: Plan, Y: Tensor) -> Tensor:
    """Pᵀ Y for columns Y (D, k); each group writes its own sum, so the result is the same at every run."""
    y = Y.T.contiguous()
    scratch = Y.new_empty(Y.shape[1], plan.groups * plan.tile * plan.lanes)
    sums = Y.new_empty(plan.groups, Y.shape[1], plan.tile)
    _adjoint_kernel[(plan.groups, Y.shape[1])](
        y, scratch, sums, gaussian_table_on(Y.device), *_keys(plan), plan.D, **_sizes(plan), num_warps=_warps(plan)
    )
    return sums.sum(0).T[: plan.d]


def _keys(plan: Plan) -> list[int]:
    """The keys as int64 of the same bits."""
    return [key - (1 << 64) if key >> 63 else key for key in plan.keys]


def _sizes(plan: Plan) -> dict[str, int]:
    return {"N": plan.tile, "LANES": plan.lanes, "LOG2_N": plan.tile.bit_length() - 1}


def _warps(plan: Plan) -> int:
    """64 numbers a thread in the largest group, 16 in small ones."""
    return max(1, min(8, plan.tile * plan.lanes // 512))


@triton.jit
def _word(key, index):
    z = key.to(tl.uint64, bitcast=True) + index.to(tl.uint64) * _GOLDEN
    z = (z ^ (z >> 30)) * _MIX_1
    z = (z ^ (z >> 27)) * _MIX_2
    return z ^ (z >> 31)


@triton.jit
def _signed(v, key, places):
    bit = (_word(key, places >> 6) >> (places & 63).to(tl.uint64)) & 1
    return tl.where(bit == 1, -v, v)


@triton.jit
def _gaussians(key, places, table, D, like):
    """Gaussians (N, LANES) over √(D Σ G²), the sum over the rows of a lane."""
    pick = (_word(key, places >> 2) >> ((places & 3) * 16).to(tl.uint64)) & 0xFFFF
    g = tl.load(table + pick.to(tl.int64)).to(like.dtype)
    squares = tl.sum(g * g, axis=0)
    return g / tl.sqrt(squares * D)[None, :]


@triton.jit
def _images(key, group, rows, LOG2_N: tl.constexpr):
    """Π(rows)."""
    mask = (1 << LOG2_N) - 1
    x = rows.to(tl.int64)
    for r in tl.static_range(_ROUNDS):
        a = (_word(key, group * (2 * _ROUNDS) + 2 * r) & mask).to(tl.int64) | 1
        c = (_word(key, group * (2 * _ROUNDS) + 2 * r + 1) & mask).to(tl.int64)
        x = (a * x + c) & mask
        x = x ^ (x >> ((LOG2_N + 1) // 2))
    return x


@triton.jit
def _transform(t, N: tl.constexpr, LANES: tl.constexpr, LOG2_N: tl.constexpr):
    """H along the rows of (N, LANES)."""
    for stage in tl.static_range(LOG2_N):
        pairs = tl.reshape(t, (N >> (stage + 1), 2, LANES << stage))
        a, b = tl.split(tl.trans(pairs, 0, 2, 1))
        t = tl.trans(tl.join(a + b, a - b), 0, 2, 1)
    return tl.reshape(t, (N, LANES))


@triton.jit
def _product_kernel(
    X, Y, table, signs, gaussians, permutation, D, d, N: tl.constexpr, LANES: tl.constexpr, LOG2_N: tl.constexpr
):
    group, column = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    rows, lanes = tl.arange(0, N)[:, None], tl.arange(0, LANES)[None, :]
    places = group * (N * LANES) + rows * LANES + lanes
    block = Y + (column * tl.num_programs(0) + group) * (N * LANES)
    x = tl.load(X + column * d + rows + 0 * lanes, mask=rows + 0 * lanes < d, other=0.0)
    t = _transform(_signed(x, signs, places), N, LANES, LOG2_N)  # H B x
    tl.store(block + rows * LANES + lanes, t)
    tl.debug_barrier()
    t = tl.load(block + _images(permutation, group, rows, LOG2_N) * LANES + lanes)  # Π H B x
    t = _gaussians(gaussians, places, table, D, t) * t  # G Π H B x
    t = _transform(t, N, LANES, LOG2_N)  # H G Π H B x
    tl.debug_barrier()
    tl.store(block + rows * LANES + lanes, t)


@triton.jit
def _adjoint_kernel(
    Y, scratch, sums, table, signs, gaussians, permutation, D,
    N: tl.constexpr, LANES: tl.constexpr, LOG2_N: tl.constexpr,
):  # fmt: skip
    group, column = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    rows, lanes = tl.arange(0, N)[:, None], tl.arange(0, LANES)[None, :]
    places = group * (N * LANES) + rows * LANES + lanes
    block = scratch + (column * tl.num_programs(0) + group) * (N * LANES)
    t = _transform(tl.load(Y + column * D + places, mask=places < D, other=0.0), N, LANES, LOG2_N)  # H y
    t = _gaussians(gaussians, places, table, D, t) * t  # G H y
    tl.store(block + _images(permutation, group, rows, LOG2_N) * LANES + lanes, t)
    tl.debug_barrier()
    t = tl.load(block + rows * LANES + lanes)  # Πᵀ G H y
    t = _signed(_transform(t, N, LANES, LOG2_N), signs, places)  # B H Πᵀ G H y
    target = sums + (group * tl.num_programs(1) + column) * N + tl.arange(0, N)
    tl.store(target, tl.sum(t, axis=1))
