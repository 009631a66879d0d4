"""An architecture found in a model by its structure: chains of blocks, their roles, sublayers and norms."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from lab.deferred import transformers
from lab.models.architecture import Architecture, Slot, Stack
from lab.models.families import ARCHITECTURES
from lab.models.naming import slots_of

TRIED = (
    "distilbert", "electra", "albert", "deberta", "deberta-v2", "modernbert", "mpnet", "bart", "mbart", "mt5", "opt",
    "gpt_neox", "gpt_neo", "gptj", "bloom", "falcon", "phi", "phi3", "olmo2", "stablelm", "starcoder2", "qwen3_moe",
    "mixtral",
)  # fmt: skip
"""Model types without a row that the tests try; of others a warning says what was assumed."""

EXAMPLE = (
    'load_plm(path, architecture=Architecture(family="mine", kind="decoder", model_types=("mine",), stacks=(Stack('
    'path="layers", slots={"query": Slot("attn.q"), …}, places={"after_attention": "attn.o", …}, norms=()),), '
    'embedding="embed_tokens"))'
)


def architecture_for(config: Any) -> Architecture:
    """The row that covers a configuration's model type, or else what its model's structure says.

    Raises:
        ValueError: neither; the message says what to give `load_plm`.
    """
    row = _row(config)
    if row is not None:
        return row
    try:
        with torch.device("meta"):
            base = transformers.AutoModel.from_config(deepcopy(config))
    except ValueError as error:  # no class of a base model; transformers lists all that have one
        raise ValueError(_unknown(config, "transformers has no base model of this type (AutoModel)")) from error
    return architecture_of_model(base)


def architecture_of_model(model: Any) -> Architecture:
    """The same of a model that is there, whatever its head.

    Raises:
        ValueError: as `architecture_for`.
    """
    config = model.config
    row = _row(config)
    if row is not None:
        return row
    base = model.base_model
    try:
        kind = kind_of(config)
        chains = _chains(base)
        text, of_text = _of_text(chains, base, model.get_input_embeddings(), 2 if kind == "encoder-decoder" else 1)
        stacks = tuple(_stack(base, path, config) for path in of_text)
        if not stacks:
            raise ValueError("it has no list of blocks of one class")
    except ValueError as error:
        raise ValueError(_unknown(config, str(error))) from error
    paths = tuple(stack.path for stack in stacks)
    embedding = model.get_input_embeddings()
    named = dict(base.named_modules())
    beside = tuple(path for path in chains if path not in of_text)
    towers = tuple(p for p in _models_inside(base, text) if not any(_within(path, (p,)) for path in paths))
    final = tuple(
        p
        for p, m in named.items()
        if _within(p, (text,)) and _is_norm(m) and not _within(p, (*paths, *towers)) and "embed" not in p
    )
    poolers = tuple(name for name, _ in base.named_parameters() if name.startswith("pooler"))
    return Architecture(
        family=config.model_type,
        kind=kind,
        model_types=(config.model_type,),
        stacks=stacks,
        embedding=next(path for path, module in named.items() if module is embedding),
        final_norms=final,
        poolers=poolers,
        assumed="" if config.model_type in TRIED else _assumed(config, kind, stacks, beside),
    )


def kind_of(config: Any) -> str:
    """ "encoder", "decoder" or "encoder-decoder", by the language model that transformers has for the configuration."""
    if config.is_encoder_decoder:
        return "encoder-decoder"
    if type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING:
        return "encoder"
    if type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return "decoder"
    raise ValueError("transformers has no masked and no causal language model of this type")


def is_tried(model_type: str) -> bool:
    """Whether the tests try a model type: it has a row, or is one of `TRIED`."""
    return model_type in TRIED or any(model_type in row.model_types for row in ARCHITECTURES)


def _row(config: Any) -> Architecture | None:
    return next((row for row in ARCHITECTURES if config.model_type in row.model_types), None)


def _chains(base: nn.Module) -> list[str]:
    """Paths of the lists of blocks: the outermost lists of modules of one class that hold linear maps.

    ALBERT keeps its shared block in a list inside of a group; the innermost such list is the chain there.
    """
    found: list[str] = []
    for path, module in base.named_modules():
        if isinstance(module, nn.ModuleList) and _is_chain(module) and not _within(path, tuple(found)):
            found.append(_innermost(path, module))
    return found


def _of_text(chains: list[str], base: nn.Module, embedding: nn.Module, stacks: int) -> tuple[str, tuple[str, ...]]:
    """Path and chains of the model that a text runs through: the innermost that embeds it and has `stacks` of them.

    A model of images and text keeps the towers for images beside it, or, as a model of its own, inside of it (GIT).
    """
    at = next(path for path, module in base.named_modules() if module is embedding).split(".")
    for n in range(len(at), -1, -1):
        path = ".".join(at[:n])
        inside = tuple(chain for chain in chains if _within(chain, (path,)))
        if len(inside) >= stacks and isinstance(base.get_submodule(path), transformers.PreTrainedModel):
            own = tuple(chain for chain in inside if not _within(chain, _models_inside(base, path)))
            return path, own if len(own) >= stacks else inside
    return "", tuple(chains)


def _models_inside(base: nn.Module, path: str) -> tuple[str, ...]:
    """Paths of the models that are parts of the one at `path`."""
    return tuple(
        p
        for p, module in base.named_modules()
        if p != path and _within(p, (path,)) and isinstance(module, transformers.PreTrainedModel)
    )


def _is_chain(modules: nn.ModuleList) -> bool:
    """A list of blocks: of one class, or of several that are called layers (attention and Mamba by turns)."""
    classes = _classes(modules)
    alike = len(classes) == 1 or (len(classes) > 1 and all("Layer" in cls.__name__ for cls in classes))
    return alike and any(isinstance(x, nn.Linear) or type(x).__name__ == "Conv1D" for x in modules[0].modules())


def _classes(modules: nn.ModuleList) -> set[type]:
    return {type(module) for module in modules}


def _innermost(path: str, modules: nn.ModuleList) -> str:
    """The list itself, or of a single group that holds nothing else its list of blocks; sublayers of several classes
    are none (T5's attention and feed-forward network, in a model of one block)."""
    if len(modules) == 1:
        children = dict(modules[0].named_children())
        for name, child in children.items():
            if isinstance(child, nn.ModuleList) and _is_chain(child) and len(_classes(child)) == len(children) == 1:
                return _innermost(f"{path}.0.{name}", child)
    return path


def _stack(base: nn.Module, path: str, config: Any) -> Stack:
    blocks = list(base.get_submodule(path).children())
    slots: dict[str, Slot] = {}
    untold = []
    for block in blocks:
        try:
            slots |= {role: slot for role, slot in slots_of(block, config).items() if role not in slots}
        except ValueError as error:  # a block of another kind, where others attend
            untold.append(error)
    if not slots:
        raise untold[0]
    norms = [p for p, m in blocks[0].named_modules() if _is_norm(m)]
    common = set.intersection(*({p for p, _ in block.named_modules()} for block in blocks))
    return Stack(path, slots, _places(blocks, slots), tuple(p for p in norms if p in common))


def _places(blocks: list[nn.Module], slots: dict[str, Slot]) -> dict[str, str]:
    """Sublayers, and the modules whose outputs are added to the residual stream; those that every block has."""
    modules = [dict(block.named_modules()) for block in blocks]
    places = {"attention": _owner(slots.get("query") or slots["qkv"]), "after_attention": slots["output"].module}
    if "cross_output" in slots:
        places["cross_attention"] = _owner(slots.get("cross_query") or slots["cross_qkv"])
        places["after_cross_attention"] = slots["cross_output"].module
    mixture = next((p for b in modules for p, m in b.items() if p and "experts" in dict(m.named_children())), None)
    if mixture is not None:
        places["feed_forward"] = places["after_feed_forward"] = mixture
    elif "down" in slots:
        places["feed_forward"] = _owner(slots["up"]) or slots["up"].module
        places["after_feed_forward"] = slots["down"].module
    for place, norm in (("attention", "post_attention_layernorm"), ("feed_forward", "post_feedforward_layernorm")):
        if {"post_attention_layernorm", "post_feedforward_layernorm"} <= modules[0].keys():
            places[f"after_{place}"] = norm  # what is added is the normalised output
    return {place: path for place, path in places.items() if path and all(path in block for block in modules)}


def _owner(slot: Slot) -> str:
    return slot.module.rpartition(".")[0]


def _is_norm(module: nn.Module) -> bool:
    own = dict(module.named_parameters(recurse=False))
    return "Norm" in type(module).__name__ and "weight" in own and own["weight"].ndim == 1


def _within(path: str, chains: tuple[str, ...]) -> bool:
    return any(not chain or path == chain or path.startswith(f"{chain}.") for chain in chains)


def _assumed(config: Any, kind: str, stacks: tuple[Stack, ...], beside: tuple[str, ...]) -> str:
    said = []
    for stack in stacks:
        roles = ", ".join(f"{role} = {slot.module}" for role, slot in stack.slots.items())
        added = ", ".join(path for place, path in stack.places.items() if place.startswith("after_"))
        said.append(f"blocks in {stack.path!r}: {roles}; added to the residual stream: {added}")
    if beside:
        said.append(f"no text runs through {', '.join(map(repr, beside))}, which are left alone")
    return f"{config.model_type!r} has no row and was taken by its structure for: {kind}; {'; '.join(said)}."


def _unknown(config: Any, reason: str) -> str:
    return (
        f"model type {config.model_type!r} has no architecture row, and its structure is none that is known: {reason}. "
        f"Say where things are: {EXAMPLE}; docs/models.md has a whole one."
    )
