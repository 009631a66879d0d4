"""Fastfood by torch operations: the definition that kernels are held to, and the path of devices that have none."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lab.projections import counter
from lab.projections.fastfood_plan import Plan
from lab.projections.hadamard import reference_transform

CHUNK = 1 << 18  # places drawn at a time; a place costs some 50 bytes of passing integers


def product(plan: Plan, X: Tensor) -> Tensor:
    """P X for columns X (d, k)."""
    Y = X.new_empty(plan.D, X.shape[1])
    tiled = torch.cat([X, X.new_zeros(plan.tile - plan.d, X.shape[1])])
    for groups, first, last in _chunks(plan):
        signs, gaussians, pi = _draws(plan, groups, X)
        t = _transform(signs[..., None] * tiled[None, :, None, :])  # H B x: (groups, tile, lanes, k)
        w = gaussians[..., None] * _rows(t, pi % plan.tile)  # G Π H B x: (groups, length, lanes, k)
        Y[first:last] = _transform(w).reshape(-1, X.shape[1])[: last - first]
    return Y


def adjoint(plan: Plan, Y: Tensor) -> Tensor:
    """Pᵀ Y for columns Y (D, k)."""
    X = Y.new_zeros(plan.tile, Y.shape[1])
    for groups, first, last in _chunks(plan):
        signs, gaussians, pi = _draws(plan, groups, Y)
        t = Y.new_zeros(len(groups) * plan.length * plan.lanes, Y.shape[1])
        t[: last - first] = Y[first:last]
        w = gaussians[..., None] * _transform(t.reshape(len(groups), plan.length, plan.lanes, -1))  # G H y
        u = w.new_zeros(len(groups), plan.tile, plan.lanes, Y.shape[1])
        u.scatter_add_(1, (pi % plan.tile)[:, :, None, None].expand(w.shape), w)  # Πᵀ G H y
        X += (signs[..., None] * _transform(u)).sum((0, 2))  # B H Πᵀ G H y
    return X[: plan.d].clone()


def _chunks(plan: Plan) -> Iterator[tuple[range, int, int]]:
    """(groups, first place, last place + 1), the places cut at D."""
    size = plan.length * plan.lanes
    step = max(1, CHUNK // size)
    for begin in range(0, plan.groups, step):
        end = min(begin + step, plan.groups)
        yield range(begin, end), begin * size, min(end * size, plan.D)


def _draws(plan: Plan, groups: range, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Signs (groups, tile, lanes), Gaussians over √(D Σ G²) (groups, length, lanes), rows Π(i) (groups, length)."""
    group = torch.arange(groups.start, groups.stop, device=like.device)
    sign_key, gaussian_key, permutation_key = plan.keys

    def places(rows: int) -> Tensor:
        first = group * (rows * plan.lanes)
        return first[:, None] + torch.arange(rows * plan.lanes, device=like.device)

    signs = counter.signs(sign_key, places(plan.tile), like.dtype).reshape(-1, plan.tile, plan.lanes)
    gaussians = counter.gaussians(gaussian_key, places(plan.length), like.dtype)
    gaussians = gaussians.reshape(-1, plan.length, plan.lanes)
    squares = gaussians.double().square().sum(1, keepdim=True)
    gaussians = gaussians * (plan.D * squares).rsqrt().to(like.dtype)
    rows = torch.arange(plan.length, device=like.device)
    pi = counter.permute(permutation_key, group[:, None], rows, plan.length.bit_length() - 1)
    return signs, gaussians, pi


def _rows(t: Tensor, index: Tensor) -> Tensor:
    """t[g, index[g, i]] for t (groups, tile, lanes, k), index (groups, length)."""
    return torch.gather(t, 1, index[:, :, None, None].expand(*index.shape, *t.shape[2:]))


def _transform(t: Tensor) -> Tensor:
    """H along the rows of (groups, rows, lanes, k)."""
    return reference_transform(t.transpose(0, 1)).transpose(0, 1)
