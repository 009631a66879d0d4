"""Adapters (Houlsby et al. 2019): h ↦ h + W_up·σ(W_down·h) after each sublayer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lab.deltas.additive import grafted
from lab.deltas.delta import Delta
from lab.deltas.method import DeltaMethod
from lab.deltas.roles import present_places
from lab.models import PLM, Graft

ACTIVATIONS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {"silu": nn.SiLU, "gelu": nn.GELU, "relu": nn.ReLU, "tanh": nn.Tanh}
)
_PLACES = MappingProxyType(
    {
        "houlsby": ("after_attention", "after_cross_attention", "after_feed_forward"),
        "pfeiffer": ("after_feed_forward",),
    }
)


@dataclass(frozen=True)
class Adapter(DeltaMethod):
    """h ↦ h + W_up·σ(W_down·h + b_down) + b_up on what a sublayer adds to the residual stream.

    W_up = 0 and b_up = 0 at φ₀, so φ₀ is the identity bit for bit (Houlsby et al. 2019 start near it instead). One
    adapter has 2·n·r + r + n parameters for hidden size n and bottleneck r.

    Attributes:
        bottleneck: r. Default 64, the source text's setting.
        activation: σ. Default "silu", the source text's setting.
        placement: "houlsby" after every attention and feed-forward sublayer (the source text's setting), "pfeiffer"
            after the feed-forward only (Pfeiffer et al. 2021).
        label: name of the graft; give another one to put two on one PLM.
    """

    bottleneck: int = 64
    activation: str = "silu"
    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    label: str = "adapter"

    name = "adapter"
    sized = (("bottleneck", "{}"),)
    family = "addition"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.bottleneck, int) or self.bottleneck < 1:
            raise ValueError(f"Adapter needs a whole bottleneck >= 1; got {self.bottleneck}.")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"Adapter's activation must be one of {sorted(ACTIVATIONS)}; got {self.activation!r}.")
        if self.placement not in _PLACES:
            raise ValueError(f"Adapter's placement must be one of {sorted(_PLACES)}; got {self.placement!r}.")

    def body(self, plm: PLM, seed: int) -> Delta:
        paths = [place.path for place in present_places(plm, _PLACES[self.placement])]
        width = _hidden_size(plm)

        def attach(model: nn.Module) -> None:
            generator = torch.Generator().manual_seed(seed)
            for path in paths:
                owner = model.get_submodule(path)
                adapter = Bottleneck(width, self.bottleneck, ACTIVATIONS[self.activation](), generator)
                owner.add_module(self.label, adapter.to(dtype=plm.dtype, device=plm.device))
                owner.register_forward_hook(_adapted(self.label))

        return grafted(plm, Graft(self.label, attach), at_identity=True)


class Bottleneck(nn.Module):
    """h ↦ W_up·σ(W_down·h + b_down) + b_up, zero at the start.

    W_down is uniform on ±1/√n (Kaiming uniform with a = √5), like LoRA's A.
    """

    def __init__(self, width: int, bottleneck: int, activation: nn.Module, generator: torch.Generator):
        super().__init__()
        self.down = nn.Linear(width, bottleneck, device="meta").to_empty(device="cpu")
        self.activation = activation
        self.up = nn.Linear(bottleneck, width, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            self.down.weight.uniform_(-1 / sqrt(width), 1 / sqrt(width), generator=generator)
            for zero in (self.down.bias, self.up.weight, self.up.bias):
                zero.zero_()

    def forward(self, h: Tensor) -> Tensor:
        return self.up(self.activation(self.down(h)))


def _adapted(label: str) -> Any:
    """A forward hook that adds the adapter's output; it finds the adapter by name, so copies of a host stay apart."""

    def hook(module: nn.Module, _args: Any, output: Any) -> Any:
        adapter = module.get_submodule(label)
        if isinstance(output, tuple):  # a mixture of gpt-oss hands its router's choice on too
            return (output[0] + adapter(output[0]), *output[1:])
        return output + adapter(output)

    return hook


def _hidden_size(plm: PLM) -> int:
    return plm.matrices(("output",))[0].shape[0]
