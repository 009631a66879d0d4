"""Norms that compute in the parameters' own precision, for float64 models."""

from __future__ import annotations

from inspect import signature

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
    """Replace transformers' RMS norms in `model` by `RMSNorm`, in place; parameter names do not change.

    Whether o is 0 or 1 is told by trying: types with the same formula name their norms as they like. A norm that is
    neither (without a weight, or with a gate) stays as it is.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith(("RMSNorm", "T5LayerNorm")) and not isinstance(
                child, (RMSNorm, nn.RMSNorm)
            ):
                exact = _exact(child)
                if exact is not None:
                    setattr(parent, name, exact)


@torch.no_grad()
def _exact(norm: nn.Module) -> RMSNorm | None:
    own = vars(norm)
    weight, eps = own["_parameters"].get("weight"), own.get("variance_epsilon", own.get("eps"))
    if weight is None or weight.ndim != 1 or not isinstance(eps, float) or len(signature(norm.forward).parameters) != 1:
        return None
    x = torch.linspace(-1, 2, len(weight), dtype=weight.dtype, device=weight.device)
    if weight.device.type == "meta":
        return RMSNorm(weight, eps, float(type(norm).__name__.startswith("Gemma")))
    theirs = norm(x)
    exact = (RMSNorm(weight, eps, offset) for offset in (0.0, 1.0))
    return next((own for own in exact if torch.allclose(own(x), theirs, rtol=1e-5, atol=1e-6)), None)
