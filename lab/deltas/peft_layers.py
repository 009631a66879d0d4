"""peft's own layers, grafted: each takes over the forward pass of the module it stands in for, names stay native.

peft replaces `query` by a layer that holds `query` inside ("query.base_layer.weight"). A graft may not rename, so here
the peft layer becomes a child of `query` ("query.<label>.lora_A…"), and `query.forward` runs the child, which calls
`query`'s own forward pass.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lab.deltas.peft_targets import spelled_out
from lab.deltas.peft_tied import replaced_once, tied_names
from lab.models import PLM
from lab.models.assemble import seeded

FAULTS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What peft raises of options that mean nothing to it."""


@dataclass(frozen=True, eq=False)
class PeftLayers:
    """What peft made of a PLM, on a copy with weights of its own.

    Attributes:
        model: peft's model.
        layers: module path in the PLM -> the module of peft that stands there.
        base: the same path -> the PLM's own module that stood there, in the copy; peft's module calls it.
        replaced: native parameter name -> the trainable copy peft put in its place (`modules_to_save`).
        native: native parameter name -> the same parameter in the copy.
        stored: key in a checkpoint -> what peft would store there, sharing the memory of the parameter it is.
    """

    model: nn.Module
    layers: Mapping[str, Any]
    base: Mapping[str, nn.Module]
    replaced: Mapping[str, nn.Parameter]
    native: Mapping[str, nn.Parameter]
    stored: Mapping[str, Tensor]

    def trains(self, parameter: nn.Parameter) -> bool:
        """Whether peft trains and stores the parameter (AdaLoRA's rank counters ask for gradients, but are state)."""
        return parameter.requires_grad and parameter.data_ptr() in {x.data_ptr() for x in self.stored.values()}


def peft_model(plm: PLM, config: Any, peft: Any, seed: int) -> Any:
    """peft's model around a copy of the PLM with weights of its own, its random starts drawn from the seed.

    Raises:
        ValueError: peft does not put this type on this PLM; the message gives peft's reason.
    """
    return _wrapped(copy.deepcopy(plm.model), plm, config, peft, seed)


def inject(plm: PLM, config: Any, peft: Any, seed: int) -> PeftLayers:
    """Let peft build its adapter on a copy of the PLM, and sort what it made.

    Raises:
        ValueError: peft does not put this type on this PLM, finds no layer for it, changes the PLM's own weights, or
            trains parameters outside of the layers it puts in.
    """
    clone = copy.deepcopy(plm.model)
    native, modules = dict(clone.named_parameters()), dict(clone.named_modules())  # before peft renames them
    tied = tied_names(clone)
    own = {id(module) for module in modules.values()}
    model = _wrapped(clone, plm, config, peft, seed)
    there = {p: m for p, m in model.get_base_model().named_modules() if p in modules and id(m) not in own}
    saved = {p: m for p, m in there.items() if isinstance(m, peft.utils.ModulesToSaveWrapper)}
    layers: dict[str, Any] = {path: module for path, module in there.items() if path not in saved}
    for layer in layers.values():  # the embedding's factors, which a tied head already has; they cannot be copied
        vars(layer).get("kwargs", {}).pop("tied_adapter", None)
    _require_unchanged(plm, native, config)
    replaced = {
        f"{path}.{name}": parameter
        for path, module in saved.items()
        for name, parameter in module.modules_to_save["default"].named_parameters()
    }
    replaced = replaced_once(replaced, tied, plm, config)
    if not (layers or replaced):
        raise ValueError(f"peft's {_kind(config)} finds no layer in {plm.name!r} that it can stand in for.")
    reached = {id(p) for layer in layers.values() for p in layer.parameters()}
    reached |= {id(p) for p in (*replaced.values(), *native.values())}
    outside = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in reached]
    if outside:
        raise ValueError(
            f"peft's {_kind(config)} trains {outside[:3]} outside of the layers it puts in; it cannot become a delta."
        )
    stored = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    base = {path: modules[path] for path in layers}
    return PeftLayers(model, layers, base, replaced, native, stored)


def _wrapped(model: nn.Module, plm: PLM, config: Any, peft: Any, seed: int) -> Any:
    """peft's model around `model`, a copy of the PLM's.

    peft's warnings are dropped: what they warn of (missing keys, transposed layers) is an error or no fault here.
    """
    config = spelled_out(
        config, [path for path, _ in model.named_modules() if path], [name for name, _ in model.named_parameters()]
    )
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return peft.get_peft_model(model, config, autocast_adapter_dtype=False)
        except FAULTS as error:
            dtype = str(plm.dtype).removeprefix("torch.")
            raise ValueError(f"peft cannot put {_kind(config)} on {plm.name!r} in {dtype}: {error}") from error


def attachment(plm: PLM, injection: PeftLayers, label: str) -> Callable[[nn.Module], None]:
    """The `attach` of a graft that puts copies of peft's layers on a structural copy of the PLM."""
    shared = {id(p): plm.parameters[name] for name, p in injection.native.items()}

    def attach(model: nn.Module) -> None:
        memo: dict[int, Any] = dict(shared)  # the copies work on θ itself; what layers share, they go on sharing
        for path, base in injection.base.items():
            memo[id(base)] = Beneath(model.get_submodule(path))
        for path, layer in injection.layers.items():
            owner = model.get_submodule(path)
            grafted = copy.deepcopy(layer, memo)
            owner.add_module(label, grafted)
            owner.forward = Substituted(owner, grafted).forward if parameters_of(layer) else grafted.forward

    return attach


class Beneath(nn.Module):
    """The module a peft layer stands in for, as the peft layer calls it: its forward pass of before, without its hooks.

    Everything else is looked up on the module itself, so every tensor has one name, and what is grafted later is seen.
    """

    def __init__(self, owner: nn.Module):
        super().__init__()
        self.__dict__.update(owner=owner, run=owner.forward)  # no child: the peft layer is a child of its owner

    @property  # type: ignore[misc]  # mypy wants a setter, too
    def __class__(self) -> type:  # some peft layers ask for the class of what they call
        return type(self.__dict__["owner"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["owner"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__["run"](*args, **kwargs)


def parameters_of(layer: Any) -> dict[str, Any]:
    """Name of a parameter -> the layer that changes it, where peft wraps a module for its parameters' sake.

    LoRA's `target_parameters` does, for a mixture's experts; several of one module lie around each other.
    """
    found: dict[str, Any] = {}
    while "parameter_name" in vars(layer):
        found[layer.parameter_name] = layer
        layer = layer.base_layer
    return found


class Substituted:
    """A module's forward pass with W + ΔW in the place of its own parameters.

    peft's own registers a parametrisation at every call, which a module whose parameters come from `functional_call`
    does not take.
    """

    def __init__(self, owner: nn.Module, layer: nn.Module):
        self.owner, self.run, self.layer = owner, owner.forward, layer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        held: dict[str, Any] = self.owner._parameters
        own = {name: held[name] for name in parameters_of(self.layer)}
        changes = {name: wrapper.get_delta_weight("default") for name, wrapper in parameters_of(self.layer).items()}
        held.update({name: value + changes[name] for name, value in own.items()})
        try:
            return self.run(*args, **kwargs)
        finally:
            held.update(own)


@torch.no_grad()
def _require_unchanged(plm: PLM, native: Mapping[str, nn.Parameter], config: Any) -> None:
    for name, theta in plm.parameters.items():
        if not torch.equal(native[name], theta):
            raise ValueError(
                f"peft's {_kind(config)} changes the PLM's own weights before training (first: {name!r}), so φ₀ would "
                "not start at this PLM. Choose another initialisation (for LoRA: init_lora_weights=True)."
            )


def _kind(config: Any) -> str:
    return str(getattr(config.peft_type, "value", config.peft_type))


def trained_names(injection: PeftLayers, host: PLM, label: str) -> dict[int, str]:
    """id of each trainable parameter of peft's copy -> its name on the host; one shared by layers has one name."""
    names = {id(p): name for name, p in injection.native.items() if injection.trains(p)}
    names |= {id(p): name for name, p in injection.replaced.items()}
    for path, layer in injection.layers.items():
        for inside, parameter in layer.named_parameters(remove_duplicate=False):
            name = f"{path}.{label}.{inside}"
            if name in host.grafted_names and injection.trains(parameter):
                names.setdefault(id(parameter), name)
    return names


def transposed_names(injection: PeftLayers, host: PLM, label: str) -> dict[str, str]:
    """Name on the host of a trained matrix -> the name of the one whose transpose, in the same memory, peft makes it.

    The factors of a tied head are those of the embedding; φ has them once.
    """
    names, found = trained_names(injection, host, label), {}
    first: dict[int, tuple[str, torch.Size]] = {}
    for parameter in injection.model.parameters():
        name = names.get(id(parameter))
        if name is None or parameter.ndim != 2:
            continue
        leader, shape = first.setdefault(parameter.data_ptr(), (name, parameter.shape))
        if leader != name and parameter.shape == shape[::-1]:
            found[name] = leader
    return found
