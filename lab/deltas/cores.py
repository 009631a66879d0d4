"""Layers whose weights move by U Z Vᵀ between fixed factors: what computes with the factors, and takes Z's gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Core(nn.Module):
    """Z (r, r) of one layer's change between fixed factors; every layer of a host is given the same.

    Args:
        left: (m, r) of the layer's parameter as it is stored.
        right: (n, r).
    """

    left: Tensor
    right: Tensor

    def __init__(self, left: Tensor, right: Tensor):
        super().__init__()
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("right", right, persistent=False)
        self.Z = nn.Parameter(left.new_zeros(left.shape[1], left.shape[1]))


class LinearCore(Core):
    """Of a layer x ↦ W x whose parameter, W or Wᵀ (GPT-2's "Conv1D"), moves by left Z rightᵀ.

    Args:
        left, right: as for `Core`.
        transposed: whether the parameter is Wᵀ.
    """

    def __init__(self, left: Tensor, right: Tensor, transposed: bool):
        super().__init__(left, right)
        self.transposed = transposed

    @property
    def reads(self) -> Tensor:
        """The factor that meets the input x."""
        return self.left if self.transposed else self.right

    @property
    def writes(self) -> Tensor:
        """The factor that meets the output."""
        return self.right if self.transposed else self.left


class AddedCore(LinearCore):
    """x ↦ what the change adds to W x."""

    def forward(self, x: Tensor) -> Tensor:
        linear = nn.functional.linear
        return linear(linear(linear(x, self.reads.T), self.Z.T if self.transposed else self.Z), self.writes)


class MergedCore(LinearCore):
    """Where the layer's parameter holds the change already: nothing is added, only Z's gradient is taken."""

    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        with torch.no_grad():
            read = x @ self.reads.to(x.dtype)
        return _WithGradientOfCore.apply(output, self.Z, read, self.writes, self.transposed)


class _WithGradientOfCore(torch.autograd.Function):
    """(y, Z) ↦ y, with the gradient that Z has through y = (W + left Z rightᵀ) x, from the factors alone."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, Z: Tensor, read: Tensor, writes: Tensor, transposed: bool) -> Tensor:
        ctx.save_for_backward(read, writes)
        ctx.transposed, ctx.dtype = transposed, Z.dtype
        return output.view_as(output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        read, writes = ctx.saved_tensors
        sent = g @ writes.to(g.dtype)  # half as many digits under autocast
        left, right = (read, sent) if ctx.transposed else (sent, read)
        rows = [along.flatten(0, -2).to(ctx.dtype) for along in (left, right)]
        return g, rows[0].T @ rows[1], None, None, None


class LookupCore(Core):
    """ids ↦ left[ids] Z rightᵀ, beside an embedding; its padding row gets no gradient, as in `nn.Embedding`."""

    def __init__(self, left: Tensor, right: Tensor, padding_idx: int | None):
        super().__init__(left, right)
        self.padding_idx = padding_idx

    def forward(self, ids: Tensor) -> Tensor:
        rows = nn.functional.linear(nn.functional.embedding(ids, self.left) @ self.Z, self.right)
        if self.padding_idx is None:
            return rows
        return torch.where((ids == self.padding_idx)[..., None], rows.detach(), rows)
