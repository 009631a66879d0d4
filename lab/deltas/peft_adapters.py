"""Trained adapters from and to peft's checkpoints. LoRA and prompts need no peft, what has layers of its own does."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from lab.checkpoints.adapter_folder import BASE, AdapterFolder, read_adapter, write_adapter
from lab.checkpoints.error import CheckpointError
from lab.checkpoints.lora_factors import lora_tensors, tied_only
from lab.checkpoints.lora_options import lora_options
from lab.deltas.additive import Additive
from lab.deltas.delta import Combined, Delta
from lab.deltas.lora import LowRankUpdate
from lab.deltas.lora_checkpoint import lora_checkpoint, read_lora
from lab.deltas.peft import PeftMethod, injected, peft_library
from lab.deltas.peft_layers import FAULTS, PeftLayers, inject, trained_names
from lab.deltas.peft_prompts import PREFIXES, PROMPTS, stored_prompt
from lab.deltas.peft_targets import without_saved
from lab.deltas.stored_values import stored_values
from lab.deltas.values import Values
from lab.models import PLM

_LABEL = "peft"
_TASK = ("prefix_task_cols", "prefix_task_rows")
"""Keys of a multitask prompt's factors, one per task."""


def load_adapter(plm: PLM, path_or_hub_id: str | Path) -> tuple[Delta, Tensor]:
    """A trained adapter as a delta and its φ.

    Args:
        plm: the PLM it was trained on; it is not changed.
        path_or_hub_id: folder with `adapter_config.json` and `adapter_model.safetensors`, or a hub id.

    Returns:
        A `LowRankUpdate` for LoRA and rsLoRA on attention and feed-forward matrices, else peft's own layers, grafted;
        stored heads and other `modules_to_save` are further coordinates of φ.

    Raises:
        FileNotFoundError: there is no such adapter.
        CheckpointError: broken file, missing or unexpected tensor, wrong shape, NaN or infinity, an option that means
            nothing; the message names file and tensor or option. A ValueError.
        ImportError: the adapter needs peft's own layers, and peft is not installed.
    """
    adapter = read_adapter(path_or_hub_id)
    if adapter.kind in (*PROMPTS, *PREFIXES):
        return _read_prompt(plm, adapter)
    return (read_lora(plm, adapter) if adapter.kind == "LORA" else None) or _read_injected(plm, adapter)


def save_adapter(delta: Delta, phi: Tensor, folder: str | Path) -> Path:
    """Write a trained LoRA, with or without its head, as a checkpoint that peft and `load_adapter` read.

    The folder appears whole or not at all.

    Raises:
        FileExistsError: the folder is not empty.
        ValueError: the delta is no LoRA (plus head), φ has another length, or a value is not finite.
    """
    if phi.shape != (delta.size,):
        raise ValueError(f"this delta's φ has shape ({delta.size},); got {tuple(phi.shape)}.")
    body, head = (delta.first, delta.second) if isinstance(delta, Combined) else (delta, None)
    head_only = not isinstance(head, Additive) or head.size == head.head_size
    if not isinstance(body, LowRankUpdate) or not isinstance(head, Additive | Values | None) or not head_only:
        raise ValueError(
            f"only LoRA, alone or with its head, is saved as a peft checkpoint; got {delta}. Save φ itself as a tensor."
        )
    config, tensors = lora_checkpoint(body, phi[: body.size])
    if head is not None:
        values = head.overrides(phi[body.size :])
        tensors |= {BASE + name: value for name, value in values.items()}
        config["modules_to_save"] = list(dict.fromkeys(_saved_module(name, delta.plm) for name in values))
    return write_adapter(folder, config, tensors)


def _saved_module(name: str, plm: PLM) -> str:
    """The module that `modules_to_save` names for a parameter: the head as a whole, else the parameter's own module."""
    return name.split(".", 1)[0] if name in plm.new_names else name.rpartition(".")[0]


def _read_injected(plm: PLM, adapter: AdapterFolder) -> tuple[Delta, Tensor]:
    """A checkpoint of a type that needs peft's own layers."""
    injection, body = _injected(plm, adapter)
    expected, below = injection.stored, _below(plm, adapter)
    further = {
        key.removeprefix(BASE): value for key, value in adapter.tensors.items() if key not in (*expected, *below)
    }
    values = stored_values(plm, adapter, further)
    adapter.require(
        {key: tensor.shape for key, tensor in expected.items()}
        | {key: adapter.tensors[key].shape for key in below}
        | {BASE + name: value.shape for name, value in further.items()}
    )
    values |= {name: adapter.tensors[key] for key, name in below.items() if not _holds(plm, name, adapter.tensors[key])}
    names = trained_names(injection, body.plm, _LABEL)
    name_at = {_memory(p): names[id(p)] for p in injection.model.parameters() if id(p) in names}
    for key, initial in expected.items():
        if adapter.tensors[key].is_floating_point() != initial.is_floating_point():
            raise CheckpointError(
                f"{adapter.weights}: tensor {key!r} is stored as {adapter.tensors[key].dtype}, but peft keeps it as "
                f"{initial.dtype}."
            )
        value = adapter.tensors[key].to(initial.dtype)
        if _memory(initial) in name_at:
            values[name_at[_memory(initial)]] = value
        elif not torch.equal(value, initial.cpu()):
            raise CheckpointError(
                f"{adapter.weights}: tensor {key!r} is not trained, and differs from what this version of peft "
                "draws for it; the adapter was made by another version."
            )
    for name, of in body.transposes.items():
        if not values.pop(name).equal(values[of].mT):
            raise CheckpointError(
                f"{adapter.weights}: the factors {name!r} and {of!r} of tied matrices hold different numbers; in peft "
                "they are one. Save the adapter again with peft."
            )
    rest = [name for name in plm.layout.names if name in values and name not in body.layout.names]  # the head, mostly
    delta = body + Values(plm, rest) if rest else body
    moved = {name: value.to(dtype=plm.dtype, device=plm.device) for name, value in values.items()}
    return delta, delta.layout.flatten(moved)


def _memory(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    """Where a tensor lies, and as what: the factors of a tied head are those of the embedding, transposed."""
    return tensor.data_ptr(), tuple(tensor.stride())


def _injected(plm: PLM, adapter: AdapterFolder) -> tuple[PeftLayers, Values]:
    """peft's layers for an adapter, with their initial values, and the delta that carries them."""
    if adapter.kind == "LORA":
        options = lora_options(adapter.options, adapter.config)
        if not options.further:
            lora_tensors(adapter, options)  # ranks agree with the tensors before peft builds anything
    options_of = without_saved(adapter.config, [path for path, _ in plm.model.named_modules() if path])
    if adapter.kind == "LORA" and isinstance(options_of.get("target_modules"), list):
        tied = tied_only(adapter, options)  # peft (0.21) reads some such folders without them
        options_of["target_modules"] = [*options_of["target_modules"], *tied]
    peft = peft_library()
    try:
        method = PeftMethod(json.dumps(options_of, sort_keys=True), label=_LABEL)
        injection = inject(plm, method.config(), peft, seed=0)
        return injection, injected(plm, injection, _LABEL)
    except FAULTS as error:
        raise CheckpointError(f"{adapter.options} does not fit {plm.name!r}: {error}") from error


def _below(plm: PLM, adapter: AdapterFolder) -> dict[str, str]:
    """Keys of what peft stored below its layers (the table of an adapted embedding) -> the PLM's parameter.

    Below an adapted head that is tied it must be the table that it is tied with.
    """
    names: dict[int, str] = {}
    of = {n: names.setdefault(id(p), n) for n, p in plm.model.named_parameters(remove_duplicate=False)}
    named = {
        key: key.removeprefix(BASE).replace(".base_layer.", ".") for key in adapter.tensors if ".base_layer." in key
    }
    known = {key: of[name] for key, name in named.items() if name in of and key not in plm.parameters}
    for key, name in known.items():
        got, own = tuple(adapter.tensors[key].shape), tuple(plm.parameters[name].shape)
        if got != own:
            raise CheckpointError(
                f"{adapter.weights}: tensor {key!r} has shape {got}; {name!r} of {plm.name!r} has {own}: the "
                "vocabulary was resized."
            )
        if name != named[key] and not _holds(plm, name, adapter.tensors[key]):
            raise CheckpointError(
                f"{adapter.weights}: tensor {key!r} is not {name!r} of {plm.name!r}, which it is tied with; a delta of "
                "tied weights cannot change the one alone. Compare the merged model as a folder."
            )
    return known


def _holds(plm: PLM, name: str, value: Tensor) -> bool:
    return torch.equal(plm.parameters[name], value.to(dtype=plm.dtype, device=plm.device))


def _read_prompt(plm: PLM, adapter: AdapterFolder) -> tuple[Delta, Tensor]:
    """A stored prompt or prefix; peft is not needed for it."""
    key, base = "prompt_embeddings", BASE.removesuffix("model.")  # peft wraps the PLM once less for prompts
    of_task = _TASK if adapter.kind == "MULTITASK_PROMPT_TUNING" else ()
    further = {k.removeprefix(base): value for k, value in adapter.tensors.items() if k not in (key, *of_task)}
    saved = stored_values(plm, adapter, further)
    stored = adapter.tensors.get(key)
    if stored is None or stored.ndim != 2 or not stored.is_floating_point():
        got = "nothing" if stored is None else f"{stored.dtype} of shape {tuple(stored.shape)}"
        raise CheckpointError(f"{adapter.weights}: expected {key!r}, floats of shape (tokens, width); got {got}.")
    stored = stored * _task_factor(adapter, (len(stored), stored.shape[-1])) if of_task else stored
    tokens = adapter.config.get("num_virtual_tokens")
    try:
        body, phi = stored_prompt(plm, adapter.kind, stored, len(stored) if tokens is None else tokens, "prompt")
    except ValueError as error:
        raise CheckpointError(f"{adapter.weights}: tensor {key!r}: {error}") from error
    if not saved:
        return body, phi
    head = Values(plm, saved)
    values = {n: value.to(dtype=plm.dtype, device=plm.device) for n, value in saved.items()}
    return body + head, torch.cat([phi, head.layout.flatten(values)])


def _task_factor(adapter: AdapterFolder, shape: tuple[int, int]) -> Tensor:
    """What the one task of a multitask prompt multiplies it by, u vᵀ summed over the ranks, (tokens, width).

    Raises:
        CheckpointError: the factors are missing or of another shape, or there are several tasks.
    """
    factors = [adapter.tensors.get(key) for key in _TASK]
    left, right = factors
    if left is None or right is None or left.ndim != 3 or right.ndim != 3:
        raise CheckpointError(f"{adapter.weights}: a multitask prompt needs the tensors {list(_TASK)} of three axes.")
    if (left.shape[1], right.shape[2]) != shape or left.shape[::2] != right.shape[:2]:
        raise CheckpointError(
            f"{adapter.weights}: the factors of the tasks have shapes {tuple(left.shape)} and {tuple(right.shape)}, "
            f"the prompt {shape}; they do not belong together."
        )
    if len(left) > 1:
        raise CheckpointError(
            f"{adapter.weights} holds prompts of {len(left)} tasks, and a batch does not say which one is its own; "
            "save the prompt of one task as PROMPT_TUNING, embedding · (cols[i] @ rows[i])."
        )
    return left[0] @ right[0]
