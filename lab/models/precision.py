"""Norms that compute in the parameters' own precision, for float64 models."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """x ↦ (w + o)·x / √(mean(x²) + ε), all in the dtype of x (Zhang & Sennrich 2019, eq. 4).

    transformers' T5, Llama and Gemma norms go through float32 whatever the dtype (5.23). In float64 that is an error of
    1e-7 in every layer: identities could not be checked beyond it.

    Args:
        weight: w (hidden,); the very parameter, so that names and sharing stay.
        eps: ε.
        offset: o = 1 for Gemma, whose w is centred at 0; 0 elsewhere.
    """

    def __init__(self, weight: nn.Parameter, eps: float, offset: float):
        super().__init__()
        self.weight, self.eps, self.offset = weight, eps, offset

    def forward(self, x: Tensor) -> Tensor:
        normal = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)
        return (self.offset + self.weight) * normal


def exact_norms(model: nn.Module) -> None:
    """Replace transformers' RMS norms in `model` by `RMSNorm`, in place; parameter names do not change."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            kind, old = type(child).__name__, cast(Any, child)
            if kind.endswith(("RMSNorm", "T5LayerNorm")) and not isinstance(child, (RMSNorm, nn.RMSNorm)):
                eps = vars(old).get("variance_epsilon", vars(old).get("eps"))
                setattr(parent, name, RMSNorm(old.weight, eps, float(kind.startswith("Gemma"))))
