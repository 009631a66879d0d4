"""Models that are in memory, peft's among them, where a folder is expected: written to one that lives as long as they.

What is read is what such a model is at the time of the call; training it further changes nothing that was read.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import warnings
import weakref
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lab.deferred import transformers
from lab.models.quiet import quiet

Source = str | os.PathLike[str] | nn.Module
"""What weights are read from: a name, a folder, a file, or a model in memory."""

SUBTRACTED = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Beginnings of `init_lora_weights` that change the weights below the adapter; W₀ is no longer in memory then."""


def is_peft(model: object) -> bool:
    """Whether it is a `peft.PeftModel`; peft is not imported for that."""
    peft = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def model_on_disk(model: nn.Module) -> Path:
    """A folder with the configuration and the weights of a model as it runs: adapters merged, in a copy.

    Raises:
        TypeError: neither a model of transformers nor one of peft.
        ValueError: adapters that change no weight (prompts, prefixes), or that peft cannot merge.
    """
    return _saved(model, merged(model) if is_peft(model) else model)


def base_on_disk(model: Any) -> Path:
    """The same of the model below a PeftModel's adapters.

    Raises:
        ValueError: the adapter changed the weights below it when it was made (PiSSA, OLoRA, …).
    """
    for name in model.active_adapters:
        start = getattr(model.peft_config[name], "init_lora_weights", None)
        if isinstance(start, str) and start.lower().startswith(SUBTRACTED):
            raise ValueError(
                f"init_lora_weights={start!r} changed the weights below the adapter {name!r}, so that W₀ is not in "
                "this model; give the model it was made from as base."
            )
    copy = _unmerged_copy(model)
    return _saved(model, copy.unload())


def adapter_on_disk(model: Any) -> Path | None:
    """A folder with the active adapter of a PeftModel, as peft saves it; None where several are active."""
    active = list(model.active_adapters)
    if len(active) != 1:
        return None
    folder = _folder_of(model)
    with _without_warnings():
        model.save_pretrained(folder, selected_adapters=active)
    return folder if active == ["default"] else folder / active[0]


@torch.no_grad()
def merged(model: Any) -> Any:
    """The model of transformers that computes what a PeftModel does, with weights of its own.

    Raises:
        ValueError: its adapters change no weight, or cannot be merged.
    """
    for name in model.active_adapters:
        config = model.peft_config[name]
        if config.is_prompt_learning:
            raise ValueError(
                f"the adapter {name!r} ({config.peft_type.value}) adds tokens and changes no weight, so it cannot be "
                "merged; save it (`save_pretrained`) and read it with load_adapter."
            )
    copy = _unmerged_copy(model)
    try:
        with _without_warnings():
            return copy.merge_and_unload(safe_merge=True, adapter_names=list(model.active_adapters))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"peft cannot merge the adapters {list(model.active_adapters)}: {error}") from error


def _unmerged_copy(model: Any) -> Any:
    copy = deepcopy(model)
    with _without_warnings():
        for module in copy.modules():
            if getattr(module, "merged_adapters", None):
                module.unmerge()
    return copy


def _saved(model: nn.Module, plain: nn.Module) -> Path:
    if not isinstance(plain, transformers.PreTrainedModel):
        raise TypeError(
            f"expected a name, a folder, a model of transformers or a PeftModel; got {type(model).__module__}."
            f"{type(model).__qualname__}."
        )
    if getattr(plain, "_hf_peft_config_loaded", False):
        raise ValueError(
            f"this {type(plain).__name__} carries adapters that `add_adapter` put in; save them (`save_pretrained`) "
            "and give that folder, or wrap the model with peft.get_peft_model instead."
        )
    folder = _folder_of(model)
    with quiet(), _without_warnings():
        plain.save_pretrained(folder)
    return folder


def _folder_of(model: nn.Module) -> Path:
    """A new folder, removed when the model is no more, or when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="deltalab-model-"))
    weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    return folder


def _without_warnings() -> warnings.catch_warnings[None]:
    """peft's and transformers' remarks while they save and merge: what they fear is refused here, or no fault."""
    return warnings.catch_warnings(action="ignore")
