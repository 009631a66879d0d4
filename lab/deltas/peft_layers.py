"""peft's own layers, grafted: each peft module takes over the forward pass of the layer it wraps, names stay native.

peft replaces `query` by a layer that holds `query` inside ("query.base_layer.weight"). A graft may not rename, so here
the peft layer becomes a child of `query` ("query.<label>.lora_A…") that works on a second view of it sharing its
weights, and `query.forward` runs the child.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lab.models import PLM
from lab.models.assemble import seeded
from lab.models.graft import structural_copy


@dataclass(frozen=True, eq=False)
class Injection:
    """What peft made of a PLM, on a copy with weights of its own.

    Attributes:
        model: peft's model.
        layers: module path in the PLM -> the peft layer that stands there.
        replaced: native parameter name -> the trainable copy peft put in its place (`modules_to_save`).
        native: native parameter name -> the same parameter in the copy.
        stored: key in a checkpoint -> what peft would store there, sharing the memory of the parameter it is.
    """

    model: nn.Module
    layers: Mapping[str, Any]
    replaced: Mapping[str, nn.Parameter]
    native: Mapping[str, nn.Parameter]
    stored: Mapping[str, Tensor]

    def trains(self, parameter: nn.Parameter) -> bool:
        """Whether peft trains and stores the parameter (AdaLoRA's rank counters ask for gradients, but are state)."""
        return parameter.requires_grad and parameter.data_ptr() in {x.data_ptr() for x in self.stored.values()}


def peft_model(plm: PLM, config: Any, peft: Any, seed: int) -> Any:
    """peft's model around a copy of the PLM with weights of its own, its random starts drawn from the seed.

    peft's warnings are dropped: what they warn of (missing keys, transposed layers) is an error or no fault here.
    """
    clone = copy.deepcopy(plm.model)
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.get_peft_model(clone, config, autocast_adapter_dtype=False)


def inject(plm: PLM, config: Any, peft: Any, seed: int) -> Injection:
    """Let peft build its adapter on a copy of the PLM, and sort what it made.

    Raises:
        ValueError: peft changed the PLM's own weights, or trains parameters outside of layers it wraps.
    """
    model = peft_model(plm, config, peft, seed)
    tuned = model.get_base_model()
    wraps, copies = peft.tuners.tuners_utils.BaseTunerLayer, peft.utils.ModulesToSaveWrapper
    layers: dict[str, Any] = {path: module for path, module in tuned.named_modules() if isinstance(module, wraps)}
    saved = {path: module for path, module in tuned.named_modules() if isinstance(module, copies)}
    native: dict[str, nn.Parameter] = {}
    for name, parameter in tuned.named_parameters(remove_duplicate=False):
        original = name.replace(".base_layer.", ".").replace(".original_module.", ".")
        if original in plm.parameters and original not in native:
            native[original] = parameter
    _require_unchanged(plm, native, config)
    replaced = {
        f"{path}.{name}": parameter
        for path, module in saved.items()
        for name, parameter in module.modules_to_save["default"].named_parameters()
    }
    reached = {id(p) for layer in layers.values() for p in layer.parameters()}
    reached |= {id(p) for p in (*replaced.values(), *native.values())}
    outside = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in reached]
    if outside or not (layers or replaced):
        raise ValueError(
            f"peft's {_kind(config)} trains {outside[:3] or 'nothing'} outside of the layers it wraps; "
            "it cannot become a delta."
        )
    stored = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    return Injection(model, layers, replaced, native, stored)


def attachment(plm: PLM, injection: Injection, label: str) -> Callable[[nn.Module], None]:
    """The `attach` of a graft that puts copies of peft's layers on a structural copy of the PLM."""
    shared = {id(p): plm.parameters[name] for name, p in injection.native.items()}

    def attach(model: nn.Module) -> None:
        memo: dict[int, Any] = dict(shared)  # the copies work on θ itself; what layers share, they go on sharing
        for path, layer in injection.layers.items():
            memo[id(layer.get_base_layer())] = structural_copy(model.get_submodule(path))
        for path, layer in injection.layers.items():
            owner = model.get_submodule(path)
            grafted = copy.deepcopy(layer, memo)
            owner.add_module(label, grafted)
            owner.forward = grafted.forward

    return attach


@torch.no_grad()
def _require_unchanged(plm: PLM, native: Mapping[str, nn.Parameter], config: Any) -> None:
    for name, theta in plm.parameters.items():
        if name not in native or not torch.equal(native[name], theta):
            raise ValueError(
                f"peft's {_kind(config)} changes the PLM's own weights before training (first: {name!r}), so φ₀ would "
                "not start at this PLM. Choose another initialisation (for LoRA: init_lora_weights=True)."
            )


def _kind(config: Any) -> str:
    return str(getattr(config.peft_type, "value", config.peft_type))


def trained_names(injection: Injection, host: PLM, label: str) -> dict[int, str]:
    """id of each trainable parameter of peft's copy -> its name on the host; one shared by layers has one name."""
    names = {id(p): name for name, p in injection.native.items() if injection.trains(p)}
    names |= {id(p): name for name, p in injection.replaced.items()}
    for path, layer in injection.layers.items():
        for inside, parameter in layer.named_parameters(remove_duplicate=False):
            name = f"{path}.{label}.{inside}"
            if name in host.grafted_names and injection.trains(parameter):
                names.setdefault(id(parameter), name)
    return names
