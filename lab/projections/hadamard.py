"""The fast Walsh–Hadamard transform y = H x: n log2 n additions, no multiplication, no matrix.

H_1 = 1, H_2n = [[H_n, H_n], [H_n, -H_n]], not normalised: H² = n I, Hᵀ = H, H_ab = H_a ⊗ H_b.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab.linalg.differentiable import linear_map
from lab.projections import kernels
from lab.projections.threads import limited_threads


def hadamard_transform(X: Tensor, dim: int = 0) -> Tensor:
    """H applied along one axis.

    Args:
        X: real or integer tensor whose length along `dim` is a power of two.
        dim: the axis.

    Returns:
        Tensor of X's shape, dtype and device; differentiable to any order, under vmap, vjp and jvp.

    Raises:
        ValueError: if the length is not a power of two.

    Example:
        >>> hadamard_transform(torch.tensor([1, 0, 1, 0, 0, 1, 1, 0])).tolist()
        [4, 2, 0, -2, 0, 2, 0, 2]
    """
    n = X.shape[dim]
    if n < 1 or n & (n - 1):
        raise ValueError(
            f"the Hadamard transform needs a length that is a power of two; got {n}. Pad with zeros to "
            f"{1 << max(n, 1).bit_length()}."
        )
    moved = X.movedim(dim, 0)
    columns = moved.reshape(n, -1)
    return linear_map(_transformed, _transformed, columns).reshape(moved.shape).movedim(0, dim)


def _transformed(X: Tensor) -> Tensor:
    """H X for plain columns X (n, k), by the kernel where there is one."""
    if X.device.type == "cpu" and X.dtype in (torch.float32, torch.float64) and X.shape[0] >= kernels.WIDTH:
        rows = X.T.contiguous() if X.shape[1] > 1 else X.T.clone()
        transform_rows_(rows)
        return rows.T
    return reference_transform(X)


def transform_rows_(rows: Tensor) -> None:
    """In place: H on each row of a contiguous float CPU tensor (k, n), n a power of two ≥ 16."""
    with limited_threads():
        kernels.wht_rows(rows.numpy())


def transform_(x: Tensor) -> None:
    """In place: H on a contiguous float CPU vector whose length is a power of two."""
    if len(x) >= kernels.WIDTH:
        transform_rows_(x[None])
    else:
        x.copy_(reference_transform(x))


def reference_transform(X: Tensor) -> Tensor:
    """H X along the first axis by torch operations: any device, any dtype; one new tensor per stage."""
    shape = X.shape
    h = 1
    while h < shape[0]:
        pairs = X.reshape(-1, 2, h, *shape[1:])
        X = torch.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], dim=1).reshape(shape)
        h *= 2
    return X
