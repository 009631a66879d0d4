"""The published Fastfood and the PyPI transform at the same work: what `benchmarks/projections.py` compares ours with.

Written anew from the description of the algorithms; no code of the peers is copied.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def padded_transform(x: Tensor) -> Tensor:
    """H x, not normalised: in each of log2 L stages two chunks, and the concatenation of their sum and difference."""
    length = x.shape[0]
    stride = length // 2
    while stride:
        first, second = torch.chunk(x.reshape(-1, 2, stride), 2, dim=1)
        x = torch.cat((first + second, first - second), dim=1)
        stride //= 2
    return x.reshape(length)


class _PublishedTransform(torch.autograd.Function):
    """Forward not normalised, backward scaled by 1/√L: the fault that `Fastfood(backward="published")` reproduces."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return padded_transform(x)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:  # type: ignore[override]
        return padded_transform(g) / math.sqrt(g.shape[0])


class PublishedFastfood:
    """x padded to L = 2^⌈log2 D⌉, two transforms of length L; keeps int64 signs and permutation, float32 Gaussians."""

    def __init__(self, D: int, d: int, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self.D, self.length = D, 1 << (D - 1).bit_length()
        self.signs = 2 * torch.randint(0, 2, (self.length,), generator=generator) - 1
        self.permutation = torch.randperm(self.length, generator=generator)
        self.gaussians = torch.randn(self.length, generator=generator)
        self.scale = math.sqrt(self.length * float(self.gaussians.square().sum())) * math.sqrt(D / self.length)

    @property
    def state_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.signs, self.permutation, self.gaussians))

    def __call__(self, x: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(x, (0, self.length - x.shape[0]))
        mixed = _PublishedTransform.apply(self.signs * padded)
        mixed = _PublishedTransform.apply(self.gaussians * mixed[self.permutation])
        return mixed[: self.D] / self.scale


class PackagedTransformFastfood:
    """Stacked blocks of length n = 2^⌈log2 d⌉ as ours, both transforms by the PyPI package hadamard-transform 0.2.0."""

    def __init__(self, D: int, d: int, seed: int):
        from hadamard_transform import hadamard_transform

        generator = torch.Generator().manual_seed(seed)
        n = 1 << (d - 1).bit_length()
        shape = (-(-D // n), n)
        self.D, self.n, self.transform = D, n, hadamard_transform
        self.signs = 2.0 * torch.randint(0, 2, shape, generator=generator) - 1
        self.permutation = torch.rand(shape, generator=generator).argsort(dim=1)
        self.gaussians = torch.randn(shape, generator=generator)
        # its transform divides by √n, ours does not: n / √(D Σ G²) in all
        self.gaussians *= n / (D * self.gaussians.square().sum(1, keepdim=True)).sqrt()

    @property
    def state_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.signs, self.permutation, self.gaussians))

    def __call__(self, x: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(x, (0, self.n - x.shape[0]))
        mixed = self.transform(self.signs * padded)
        mixed = self.transform(self.gaussians * mixed.gather(1, self.permutation))
        return mixed.reshape(-1)[: self.D]
