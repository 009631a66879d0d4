"""Biases where a family has none: W·h ↦ W·h + b."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lab.deltas.additive import grafted
from lab.deltas.delta import Delta
from lab.deltas.method import DeltaMethod
from lab.models import PLM, Graft


@dataclass(frozen=True)
class AddedBias(DeltaMethod):
    """W·h ↦ W·h + b after every weight matrix of the blocks and every normalisation; b = 0 at φ₀.

    What BitFit becomes on families whose layers have no biases (T5, Llama, Gemma): the authors of Ding et al. 2022 add
    the missing ones too (OpenDelta, `bitfit.py`), but draw them at random, which would change the PLM at φ₀. A fused
    query-key-value module gets one bias, as wide as its output.

    Attributes:
        norms: whether normalisations get one too. Default True: BitFit trains LayerNorm's.
        label: name of the graft; give another one to put two on one PLM.
    """

    norms: bool = True
    label: str = "added_bias"

    name = "added-bias"
    shown = "added biases"
    family = "addition"

    def body(self, plm: PLM, seed: int) -> Delta:
        roles = plm.architecture.roles(plm.model)
        widths = {m.name.removesuffix(".weight"): _outputs(plm, m.name, m.transposed) for m in plm.matrices(roles)}
        if self.norms:
            widths |= {path: plm.parameters[f"{path}.weight"].numel() for path in plm.architecture.norms(plm.model)}

        def attach(model: nn.Module) -> None:
            for path, width in widths.items():
                owner = model.get_submodule(path)
                bias = torch.zeros(width, dtype=plm.dtype, device=plm.device)
                owner.add_module(self.label, nn.ParameterDict({"bias": nn.Parameter(bias)}))
                owner.register_forward_hook(_biased(self.label))

        return grafted(plm, Graft(self.label, attach), at_identity=True)


def _outputs(plm: PLM, name: str, transposed: bool) -> int:
    """Width of what the stored weight puts out: all thirds of a fused one."""
    return plm.parameters[name].shape[1 if transposed else 0]


def _biased(label: str) -> Any:
    """A forward hook that adds the bias; it finds it by name, so copies of a host stay apart."""

    def hook(module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        added: Any = module.get_submodule(label)
        return output + added["bias"]

    return hook
