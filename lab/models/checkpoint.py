"""Reading a folder of weights that somebody else wrote: safetensors only, checked before anything is built."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lab.deferred import transformers
from lab.models.families import architecture_of
from lab.models.shelf import kept

INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
UNTRUSTED = (
    "auto_map",
    "_attn_implementation",
    "_attn_implementation_internal",
    "attn_implementation",
    "_name_or_path",
)
"""Configuration entries that name code or files to fetch; they are dropped wherever they occur."""


class CheckpointError(ValueError):
    """A folder of weights that cannot be used; the message names the file and says what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds, checked.

    Attributes:
        folder: where it was read.
        config: the transformers configuration, without entries that name code.
        tensors: name -> tensor, all finite.
        files: file name -> sha256 of the weights.
    """

    folder: Path
    config: Any
    tensors: dict[str, Tensor]
    files: dict[str, str]


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read configuration and weights of a local folder.

    Raises:
        CheckpointError: no or broken `config.json`, a model type without an architecture row, quantised weights, no
            safetensors (pickles are never read), a truncated file, a missing shard, NaN or Inf in a tensor.
    """
    config = read_config(folder / "config.json")
    tensors: dict[str, Tensor] = {}
    digests = {file: digest(file) for file in weight_files(folder)}
    for file, name in digests.items():
        tensors |= kept(name, partial(read_tensors, file))
    return Checkpoint(folder, config, tensors, {file.name: name for file, name in digests.items()})


def read_config(file: Path) -> Any:
    """The configuration in `config.json` as its transformers class; no code that it names is loaded."""
    if not file.is_file():
        raise CheckpointError(f"{file.parent} has no config.json; a model folder is what `save_pretrained` writes.")
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{file} is not readable JSON ({error}); save the model again.") from error
    if not isinstance(entries, dict) or not isinstance(entries.get("model_type"), str):
        raise CheckpointError(f'{file} names no "model_type"; save the model again with `save_pretrained`.')
    if "quantization_config" in entries:
        raise CheckpointError(f"{file.parent} holds quantised weights; deltas need floats: use the unquantised model.")
    try:
        architecture_of(entries["model_type"])
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from error
    entries = _trusted(entries)
    try:
        return transformers.AutoConfig.for_model(entries.pop("model_type"), **entries)
    except Exception as error:  # the configuration classes raise whatever their validation raises
        raise CheckpointError(f"{file} is not a valid configuration: {error}") from error


def _trusted(entry: Any) -> Any:
    if isinstance(entry, dict):
        return {key: _trusted(value) for key, value in entry.items() if key not in UNTRUSTED}
    return [_trusted(value) for value in entry] if isinstance(entry, list) else entry


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder.

    Raises:
        CheckpointError: there are none, or the index names a file that is not in the folder.
    """
    index = folder / INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{index} is not a readable index of shards; download the folder again.") from error
        for name in names:
            if not isinstance(name, str) or Path(name).name != name or not (folder / name).is_file():
                raise CheckpointError(f"{index} names the shard {name!r}, which is not in {folder}; download it again.")
        return [folder / name for name in names]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        raise CheckpointError(
            f"{folder} holds weights only as {pickles}, which can run code when read; deltalab reads safetensors only. "
            "Convert them where you trust them: `model.save_pretrained(folder)` writes model.safetensors."
        )
    raise CheckpointError(f"{folder} has no model.safetensors; a model folder is what `save_pretrained` writes.")


def read_tensors(file: Path) -> dict[str, Tensor]:
    """All tensors of one safetensors file.

    Raises:
        CheckpointError: the file is truncated or no safetensors, or a tensor holds NaN or Inf.
    """
    tensors = {}
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - the reader is no mapping
                # a copy: the file's tensors lie at odd addresses, where a matrix product rounds otherwise
                tensors[name] = opened.get_tensor(name).clone()
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file} is damaged or no safetensors file ({error}); download it again.") from error
    for name, tensor in tensors.items():
        check_finite(file, name, tensor)
    return tensors


def check_finite(file: Path, name: str, tensor: Tensor) -> None:
    """Raise with file, tensor and index if `tensor` holds NaN or Inf."""
    # a finite sum proves every entry finite, in one pass; an infinite one may be an overflow, so look closer
    if not tensor.is_floating_point() or math.isfinite(tensor.sum(dtype=torch.float64).item()):
        return
    bad = torch.isfinite(tensor).logical_not().nonzero()
    if len(bad):
        index = tuple(bad[0].tolist())
        raise CheckpointError(
            f"{file}: tensor {name!r} holds {tensor[index].item()} at index {index} ({len(bad)} entries are not "
            "finite); the file is damaged or its training diverged."
        )


def digest(file: Path) -> str:
    """sha256 of a file, in hex."""
    total = sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 22):
            total.update(chunk)
    return total.hexdigest()
