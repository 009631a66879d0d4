"""Reading a folder of weights that somebody else wrote: safetensors only, checked before anything is built."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from lab.checkpoints.error import CheckpointError
from lab.checkpoints.folder import CONFIG, WeightFolder, open_folder, weight_files
from lab.checkpoints.json_file import read_object
from lab.checkpoints.safetensors_file import digest, read_tensors
from lab.checkpoints.sizes import check_sizes
from lab.deferred import transformers
from lab.models.shelf import kept

UNTRUSTED = (
    "auto_map",
    "_attn_implementation",
    "_attn_implementation_internal",
    "attn_implementation",
    "_name_or_path",
)
"""Configuration entries that name code or files to fetch; they are dropped wherever they occur."""


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds, checked.

    Attributes:
        folder: where it was read.
        config: the transformers configuration, without entries that name code.
        tensors: name -> tensor, all finite.
        files: file name -> sha256 of the weights.
        headers: what the files say of their tensors.
    """

    folder: Path
    config: Any
    tensors: dict[str, Tensor]
    files: dict[str, str]
    headers: WeightFolder


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read configuration and weights of a local folder.

    Raises:
        CheckpointError: no or broken `config.json`, a model type that transformers lacks, sizes unlike the weights,
            quantised weights, no safetensors (pickles are never read), a truncated file, a missing shard, one
            tensor name in two shards, NaN or Inf in a tensor.
    """
    file = folder / CONFIG
    entries = read_entries(file)
    headers = open_folder(folder)
    check_sizes(file, entries, headers.entries)
    config = configuration(file, entries)
    tensors: dict[str, Tensor] = {}
    digests = {file: digest(file) for file in weight_files(folder)}
    for file, name in digests.items():
        tensors |= kept(name, partial(read_tensors, file))
    return Checkpoint(folder, config, tensors, {file.name: name for file, name in digests.items()}, headers)


def read_entries(file: Path) -> dict[str, Any]:
    """The entries of a `config.json` whose model type transformers has and whose weights are floats."""
    if not file.is_file() and (file.parent / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{file.parent} holds an adapter, and no model: load_adapter(load_plm(…), folder) reads it onto its base."
        )
    if not file.is_file():
        raise CheckpointError(f"{file.parent} has no {CONFIG}; a model folder is what `save_pretrained` writes.")
    entries = read_object(file)
    if not isinstance(entries.get("model_type"), str):
        raise CheckpointError(f'{file} names no "model_type"; save the model again with `save_pretrained`.')
    if entries.get("quantization_config") is not None:
        raise CheckpointError(f"{file.parent} holds quantised weights; deltas need floats: use the unquantised model.")
    if entries["model_type"] not in transformers.CONFIG_MAPPING:
        raise CheckpointError(
            f"{file}: transformers {transformers.__version__} has no model type {entries['model_type']!r}; its code "
            "would have to come with the model, and none of that is run."
        )
    return entries


def configuration(file: Path, entries: dict[str, Any]) -> Any:
    """The entries as their transformers class; no code that they name is loaded."""
    trusted = _trusted(entries)
    try:
        return transformers.AutoConfig.for_model(trusted.pop("model_type"), **trusted)
    except Exception as error:  # the configuration classes raise whatever their validation raises
        raise CheckpointError(f"{file} is not a valid configuration: {error}") from error


def _trusted(entry: Any) -> Any:
    if isinstance(entry, dict):
        if set(entry) == {"__float__"} and entry["__float__"] in ("Infinity", "-Infinity", "NaN"):
            return float(entry["__float__"])  # as transformers writes what JSON has no number for
        return {key: _trusted(value) for key, value in entry.items() if key not in UNTRUSTED}
    return [_trusted(value) for value in entry] if isinstance(entry, list) else entry
