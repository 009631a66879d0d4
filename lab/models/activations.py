"""Activations that `torch.func` can transform, where a model's own are autograd functions of the old kind."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TanhGELU(nn.Module):
    """x ↦ ½x·(1 + tanh(√(2/π)·(x + 0.044715 x³))), in BLOOM's own order of operations."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0.5 * (1.0 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))


def plain_activations(model: nn.Module) -> None:
    """Replace BLOOM's activation in place: the same bits, but transformers' (5.23) has no rule for any transform."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ == "BloomGelu":
                setattr(parent, name, TanhGELU())
