"""Trained adapters from and to peft's checkpoints. LoRA and prompts need no peft, what has layers of its own does."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from lab.deltas.additive import Additive
from lab.deltas.checkpoint_folder import BASE, CONFIG, Checkpoint, read_checkpoint, write_checkpoint
from lab.deltas.delta import Combined, Delta
from lab.deltas.lora import LowRankUpdate
from lab.deltas.lora_checkpoint import lora_checkpoint, read_lora
from lab.deltas.peft import PeftMethod, injected, peft_library
from lab.deltas.peft_layers import inject, trained_names
from lab.deltas.peft_prompts import PREFIXES, PROMPTS, stored_prompt
from lab.deltas.values import Values
from lab.models import PLM

_LABEL = "peft"


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
        ValueError: broken file, missing or unexpected tensor, wrong shape, NaN or infinity; the message names file and
            tensor.
        ImportError: the adapter needs peft's own layers, and peft is not installed.
    """
    checkpoint = read_checkpoint(path_or_hub_id)
    kind = checkpoint.config["peft_type"]
    if kind in (*PROMPTS, *PREFIXES):
        return _read_prompt(plm, checkpoint)
    return read_lora(plm, checkpoint) or _read_injected(plm, checkpoint)


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
    return write_checkpoint(folder, config, tensors)


def _saved_module(name: str, plm: PLM) -> str:
    """The module that `modules_to_save` names for a parameter: the head as a whole, else the parameter's own module."""
    return name.split(".", 1)[0] if name in plm.new_names else name.rpartition(".")[0]


def _read_injected(plm: PLM, checkpoint: Checkpoint) -> tuple[Delta, Tensor]:
    """A checkpoint of a type that needs peft's own layers."""
    peft = peft_library()
    left_out = ("modules_to_save", "base_model_name_or_path")  # stored parameters of the PLM are told by their names
    options = {name: value for name, value in checkpoint.config.items() if name not in left_out}
    try:
        method = PeftMethod(json.dumps(options, sort_keys=True), label=_LABEL)
        injection = inject(plm, method.config(), peft, seed=0)
        body = injected(plm, injection, _LABEL)
    except (TypeError, ValueError, KeyError, NotImplementedError) as error:
        raise ValueError(f"{checkpoint.source / CONFIG} does not fit {plm.name!r}: {error}") from error
    expected = injection.stored
    further = [n for n in plm.layout.names if BASE + n in checkpoint.tensors and BASE + n not in expected]
    checkpoint.require(
        {key: tensor.shape for key, tensor in expected.items()} | {BASE + n: plm.parameters[n].shape for n in further}
    )
    names = trained_names(injection, body.plm, _LABEL)
    name_at = {p.data_ptr(): names[id(p)] for p in injection.model.parameters() if id(p) in names}
    values = {n: checkpoint.tensors[BASE + n] for n in further}
    for key, initial in expected.items():
        value = checkpoint.tensors[key].to(initial.dtype)
        if initial.data_ptr() in name_at:
            values[name_at[initial.data_ptr()]] = value
        elif not torch.equal(value, initial.cpu()):
            raise ValueError(
                f"{checkpoint.weights}: tensor {key!r} is not trained, and differs from what this version of peft "
                "draws for it; the adapter was made by another version."
            )
    rest = [name for name in plm.layout.names if name in values and name not in body.layout.names]  # the head, mostly
    delta = body + Values(plm, rest) if rest else body
    moved = {name: value.to(dtype=plm.dtype, device=plm.device) for name, value in values.items()}
    return delta, delta.layout.flatten(moved)


def _read_prompt(plm: PLM, checkpoint: Checkpoint) -> tuple[Delta, Tensor]:
    """A stored prompt or prefix; peft is not needed for it."""
    key, base = "prompt_embeddings", BASE.removesuffix("model.")  # peft wraps the PLM once less for prompts
    further = [n for n in plm.layout.names if base + n in checkpoint.tensors]
    shape = checkpoint.tensors[key].shape if key in checkpoint.tensors else (0, 0)
    checkpoint.require({key: shape} | {base + n: plm.parameters[n].shape for n in further})
    try:
        body, phi = stored_prompt(plm, checkpoint.config["peft_type"], checkpoint.tensors[key], "prompt")
    except ValueError as error:
        raise ValueError(f"{checkpoint.weights}: tensor {key!r}: {error}") from error
    if not further:
        return body, phi
    head = Values(plm, further)
    values = {n: checkpoint.tensors[base + n].to(dtype=plm.dtype, device=plm.device) for n in further}
    return body + head, torch.cat([phi, head.layout.flatten(values)])
