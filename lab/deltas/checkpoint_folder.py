"""A peft checkpoint on disk (`adapter_config.json`, `adapter_model.safetensors`): read warily, written whole."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE = "base_model.model."
"""What peft puts before the PLM's own module paths."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A peft checkpoint in memory.

    Attributes:
        source: folder it was read from; error messages name it.
        config: the fields of `adapter_config.json`.
        tensors: key in the file -> tensor, all finite.
    """

    source: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def weights(self) -> Path:
        return self.source / WEIGHTS

    def require(self, expected: Mapping[str, Iterable[int]]) -> None:
        """Check that the tensors are exactly the expected ones.

        Args:
            expected: key -> shape.

        Raises:
            ValueError: keys are missing or unexpected, or a shape differs.
        """
        missing, extra = sorted(set(expected) - set(self.tensors)), sorted(set(self.tensors) - set(expected))
        if missing or extra:
            raise ValueError(
                f"{self.weights} does not fit this PLM and its {CONFIG}: {len(missing)} tensors missing (e.g. "
                f"{missing[:3]}), {len(extra)} unexpected (e.g. {extra[:3]})."
            )
        for key, shape in expected.items():
            if tuple(self.tensors[key].shape) != tuple(shape):
                got = tuple(self.tensors[key].shape)
                raise ValueError(f"{self.weights}: tensor {key!r} has shape {got}; expected {tuple(shape)}.")


def read_checkpoint(path_or_hub_id: str | Path) -> Checkpoint:
    """Read an adapter from a folder, or from the Hugging Face hub when there is no such folder.

    Raises:
        FileNotFoundError: no such folder and the hub does not give it, or a file is missing in it.
        ValueError: a file is no valid JSON or safetensors, or a tensor is not finite.
    """
    folder = _folder(path_or_hub_id)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; pickled adapters (adapter_model.bin) are not read.")
    return Checkpoint(folder, read_config(folder / CONFIG), _tensors(folder / WEIGHTS))


def write_checkpoint(folder: str | Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """Write an adapter folder: into a temporary folder beside it first, then renamed, so that it is there whole or not.

    Raises:
        FileExistsError: the folder exists and is not empty.
        ValueError: a tensor is not finite.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} exists already; remove it or choose another folder.")
    for key, tensor in tensors.items():
        _require_finite(tensor, key, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        stored = {key: tensor.detach().to("cpu").contiguous().clone() for key, tensor in tensors.items()}
        save_file(stored, temporary / WEIGHTS, metadata={"format": "pt"})
        (temporary / CONFIG).write_text(json.dumps(dict(config), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for path in (temporary / WEIGHTS, temporary / CONFIG, temporary):
            _sync(path)
        temporary.chmod(0o755)
        os.replace(temporary, target)  # an empty target folder may be replaced, a filled one not
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return target


def _folder(path_or_hub_id: str | Path) -> Path:
    local = Path(path_or_hub_id)
    if local.is_dir():
        return local
    try:
        return Path(snapshot_download(str(path_or_hub_id), allow_patterns=[CONFIG, WEIGHTS]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{str(path_or_hub_id)!r} is neither a folder nor an adapter the Hugging Face hub gives us now "
            f"({type(error).__name__}). Give the folder that holds {CONFIG} and {WEIGHTS}."
        ) from error


def read_config(path: Path) -> dict[str, Any]:
    """The fields of an `adapter_config.json`.

    Raises:
        ValueError: it is no JSON, or no peft configuration.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no valid JSON: {error}.") from error
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise ValueError(f'{path} is no peft configuration: it has no "peft_type".')
    return config


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is no valid safetensors file: {error}") from error
    for key, tensor in tensors.items():
        _require_finite(tensor, key, path)
    return tensors


def _require_finite(tensor: Tensor, key: str, path: Path) -> None:
    finite = torch.isfinite(tensor)
    if not bool(finite.all()):
        where = tuple((~finite).nonzero()[0].tolist())
        raise ValueError(f"{path}: tensor {key!r} is not finite, first at index {where}: {tensor[where].item()}.")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
