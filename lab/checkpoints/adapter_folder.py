"""A peft adapter on disk (`adapter_config.json`, `adapter_model.safetensors`): read warily, written whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from lab.checkpoints.adapter_options import check_options
from lab.checkpoints.error import CheckpointError
from lab.checkpoints.folder import expanded
from lab.checkpoints.json_file import read_object
from lab.checkpoints.safetensors_file import Entry, check_finite, read_header, read_named
from lab.deferred import hub_errors, huggingface_hub

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE = "base_model.model."
"""What peft puts before the PLM's own module paths."""


@dataclass(frozen=True, eq=False)
class AdapterFolder:
    """A peft adapter in memory.

    Attributes:
        source: folder it was read from; error messages name it.
        config: the fields of `adapter_config.json`, each of a type that means something.
        tensors: key in the file -> tensor, all finite.
        entries: key in the file -> its dtype and shape there.
    """

    source: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    entries: Mapping[str, Entry]

    @property
    def weights(self) -> Path:
        return self.source / WEIGHTS

    @property
    def options(self) -> Path:
        return self.source / CONFIG

    @property
    def kind(self) -> str:
        """The peft type."""
        return str(self.config["peft_type"])

    def require(self, expected: Mapping[str, Iterable[int]]) -> None:
        """Check that the tensors are exactly the expected ones.

        Args:
            expected: key -> shape.

        Raises:
            CheckpointError: keys are missing or unexpected, or a shape differs.
        """
        missing, extra = sorted(set(expected) - set(self.tensors)), sorted(set(self.tensors) - set(expected))
        if missing or extra:
            raise CheckpointError(
                f"{self.weights} does not fit this PLM and its {CONFIG}: {len(missing)} tensors missing (e.g. "
                f"{missing[:3]}), {len(extra)} unexpected (e.g. {extra[:3]})."
            )
        for key, shape in expected.items():
            if tuple(self.tensors[key].shape) != tuple(shape):
                got = tuple(self.tensors[key].shape)
                raise CheckpointError(f"{self.weights}: tensor {key!r} has shape {got}; expected {tuple(shape)}.")


def read_adapter(path_or_hub_id: str | Path) -> AdapterFolder:
    """Read an adapter from a folder, or from the Hugging Face hub when there is no such folder.

    Raises:
        FileNotFoundError: no such folder and the hub does not give it, or a file is missing in it.
        CheckpointError: a file is no valid JSON or safetensors, a tensor is not finite, or an option means nothing, or
            asks for more than the tensors hold.
    """
    folder = _folder(path_or_hub_id)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file() and (folder / "config.json").is_file():
            raise FileNotFoundError(f"{folder} has no {name}; it holds a whole model, which load_plm reads.")
        inner = sorted(file.parent.name for file in folder.glob(f"*/{CONFIG}"))
        if not (folder / name).is_file() and inner:
            raise FileNotFoundError(
                f"{folder} has no {name}, but adapters in folders of its own, {inner[:5]}; name one."
            )
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; pickled adapters (adapter_model.bin) are not read.")
    config, header = read_object(folder / CONFIG), _without_copies(read_header(folder / WEIGHTS))
    check_options(folder / CONFIG, config, header)
    return AdapterFolder(folder, config, read_named(folder / WEIGHTS, header), header)


def open_adapter(folder: Path) -> AdapterFolder:
    """An adapter known by its headers: its tensors have shapes and dtypes, and no memory.

    Raises:
        CheckpointError: as `read_adapter`, but for the numbers.
    """
    config, header = read_object(folder / CONFIG), _without_copies(read_header(folder / WEIGHTS))
    check_options(folder / CONFIG, config, header)
    return AdapterFolder(folder, config, {name: entry.placeholder for name, entry in header.items()}, header)


def _without_copies(header: dict[str, Entry]) -> dict[str, Entry]:
    """The entries that peft reads.

    With bias="all" it also writes the biases inside of its wrapper around a module that is stored whole; of these
    `original_module` is the PLM's own, and `modules_to_save` the stored one again.
    """

    def is_copy(name: str) -> bool:
        plain = re.sub(r"\.(original_module|modules_to_save)\.", ".", name)
        named = re.sub(r"\.modules_to_save\.[^.]+\.", ".", name)  # with the adapter's own name, of a head in layers
        return any(other != name and other in header for other in (plain, named))

    return {name: entry for name, entry in header.items() if not is_copy(name)}


def write_adapter(folder: str | Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """Write an adapter folder: into a temporary folder beside it first, then renamed, so that it is there whole or not.

    Raises:
        FileExistsError: the folder exists and is not empty.
        CheckpointError: a tensor is not finite.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} exists already; remove it or choose another folder.")
    for key, tensor in tensors.items():
        check_finite(target / WEIGHTS, key, tensor)
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
    local = expanded(path_or_hub_id)
    if local.is_dir():
        return local
    try:
        return Path(huggingface_hub.snapshot_download(str(path_or_hub_id), allow_patterns=[CONFIG, WEIGHTS]))
    except (hub_errors.HfHubHTTPError, hub_errors.HFValidationError, OSError) as error:  # or it is not in the cache
        raise FileNotFoundError(
            f"{str(path_or_hub_id)!r} is neither a folder nor an adapter the Hugging Face hub gives us now "
            f"({type(error).__name__}). Give the folder that holds {CONFIG} and {WEIGHTS}."
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
