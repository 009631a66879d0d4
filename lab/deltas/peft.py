"""The bridge to the peft library: its methods as deltas, its checkpoints read and written.

peft itself is imported only where one of its own layers is needed; LoRA and prompt checkpoints are read without it.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab.deltas.additive import Additive
from lab.deltas.checkpoint_folder import BASE, CONFIG, Checkpoint, read_checkpoint, write_checkpoint
from lab.deltas.delta import Combined, Delta
from lab.deltas.lora import LowRankUpdate
from lab.deltas.lora_checkpoint import lora_checkpoint, read_lora
from lab.deltas.method import DeltaMethod
from lab.deltas.peft_layers import Injection, attachment, inject, trained_names
from lab.deltas.peft_prompts import PREFIXES, PROMPTS, prompt_learning, stored_prompt
from lab.deltas.values import Values
from lab.models import PLM, Graft, graft
from lab.models.heads import VerbalizerHead

_LABEL = "peft"


@dataclass(frozen=True)
class PeftMethod(DeltaMethod):
    """A method of the peft library on this lab's PLMs: peft's own layers, grafted; φ₀ = peft's initial values.

    `from_peft` builds it from a peft configuration. The PLM's classification head is treated by `head`, whatever the
    configuration says; dropout is off, as everywhere here.

    Attributes:
        options: the configuration as canonical JSON.
        label: name of the graft.
    """

    options: str = '{"peft_type": "LORA"}'
    label: str = _LABEL

    name = "peft"
    family = "reparameterisation"

    def body(self, plm: PLM, seed: int) -> Delta:
        peft, config = _peft(), self.config()
        if config.peft_type.value in (*PROMPTS, *PREFIXES):
            return prompt_learning(plm, config, peft, seed, self.label)
        if config.is_prompt_learning or config.is_adaption_prompt:
            raise ValueError(
                f"peft's {config.peft_type.value} replaces whole forward passes; it cannot become a delta."
            )
        return _injected(plm, inject(plm, config, peft, seed), self.label)

    def config(self) -> Any:
        """The peft configuration, ready for a model without task type: heads are not peft's business here."""
        fields = {**json.loads(self.options), "task_type": None, "inference_mode": False}
        return _peft().PeftConfig.from_peft_type(**fields)


def from_peft(config: Any) -> DeltaMethod:
    """The delta method of a peft configuration, e.g. `from_peft(peft.LoHaConfig(r=4, target_modules=["query"]))`.

    Every peft type whose layers wrap layers of the PLM (LoRA and its variants, IA³, OFT, VeRA, LN tuning, …) or learn a
    prompt can become a delta.

    Args:
        config: a `peft.PeftConfig`.

    Raises:
        ImportError: peft is not installed.
        TypeError: not a peft configuration.
    """
    if not isinstance(config, _peft().PeftConfig):
        raise TypeError(f"from_peft needs a peft configuration, e.g. peft.LoraConfig(…); got {type(config).__name__}.")
    return PeftMethod(json.dumps(config.to_dict(), default=_plain, sort_keys=True))


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
    if not isinstance(body, LowRankUpdate) or not isinstance(head, Additive | Values | None):
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


def _injected(plm: PLM, injection: Injection, label: str) -> Values:
    host = graft(plm, Graft(label, attachment(plm, injection, label))) if injection.layers else plm
    trained = [name for name in trained_names(injection, host, label).values() if name not in plm.new_names]
    probe = Values(host, trained)
    return Values(host, trained, at_identity=_is_identity(plm, probe))


@torch.no_grad()
def _is_identity(plm: PLM, delta: Delta) -> bool:
    """Whether φ₀ gives the PLM's logits bit for bit, on one batch: peft does not say, so try."""
    if plm.device.type == "meta":
        return False
    vocabulary = plm.parameters[plm.architecture.embedding_name(plm.model) + ".weight"].shape[0]
    ids = torch.arange(16, device=plm.device).reshape(2, 8) % vocabulary
    if isinstance(plm.head, VerbalizerHead) and plm.head.mask_id is not None:
        ids[:, 1] = plm.head.mask_id
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    try:
        logits = delta.logits(delta.phi0, batch)
    except ValueError as error:  # e.g. Poly's task ids
        raise ValueError(f"this peft method cannot run on a batch alone, so it is no delta: {error}") from error
    return torch.equal(logits, plm.logits({}, batch))


def _read_injected(plm: PLM, checkpoint: Checkpoint) -> tuple[Delta, Tensor]:
    """A checkpoint of a type that needs peft's own layers."""
    peft = _peft()
    left_out = ("modules_to_save", "base_model_name_or_path")  # stored parameters of the PLM are told by their names
    options = {name: value for name, value in checkpoint.config.items() if name not in left_out}
    method = PeftMethod(json.dumps(options, sort_keys=True), label=_LABEL)
    try:
        injection = inject(plm, method.config(), peft, seed=0)
        body = _injected(plm, injection, _LABEL)
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
    key = "prompt_embeddings"
    stored = [n for n in plm.layout.names if BASE + n in checkpoint.tensors]
    shape = checkpoint.tensors[key].shape if key in checkpoint.tensors else (0, 0)
    checkpoint.require({key: shape} | {BASE + n: plm.parameters[n].shape for n in stored})
    try:
        body, phi = stored_prompt(plm, checkpoint.config["peft_type"], checkpoint.tensors[key], "prompt")
    except ValueError as error:
        raise ValueError(f"{checkpoint.weights}: tensor {key!r}: {error}") from error
    if not stored:
        return body, phi
    head = Values(plm, stored)
    values = {n: checkpoint.tensors[BASE + n].to(dtype=plm.dtype, device=plm.device) for n in stored}
    return body + head, torch.cat([phi, head.layout.flatten(values)])


def _peft() -> Any:
    """The peft library.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise ImportError(
            'this needs the peft library, which is not installed: pip install "peft>=0.21" accelerate. '
            "LoRA and prompt checkpoints are read without it."
        ) from error


def _plain(value: Any) -> Any:
    """JSON form of what peft keeps in its configurations: sets and enums."""
    if isinstance(value, (set, frozenset, tuple)):
        return sorted(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{value!r} in a peft configuration has no JSON form; from_peft needs plain values.")
