"""A folder of weights, known by its headers: which tensors it has, in which files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lab.checkpoints.error import CheckpointError
from lab.checkpoints.json_file import read_object
from lab.checkpoints.names import is_buffer
from lab.checkpoints.safetensors_file import FLOATS, Entry, read_header, read_tensor, require_floats

CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", "model.safetensors"
LONGEST_NAME = 255  # bytes
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")


@dataclass(frozen=True, eq=False)
class WeightFolder:
    """A folder of safetensors (or one such file), known by its headers; tensors are read one at a time.

    Attributes:
        path: the folder or file.
        files: name of a weight -> the file that holds it.
        entries: name of a weight -> its dtype and shape.
        buffers: names of stored constants, which are no weights (`lab.checkpoints.names.is_buffer`).
        config: the entries of its config.json; empty where there is none.
        rounded: the quantised format its floating-point numbers were converted from, or "".
    """

    path: Path
    files: dict[str, Path]
    entries: dict[str, Entry]
    buffers: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    rounded: str = ""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self.entries.items()}

    @property
    def dtypes(self) -> dict[str, str]:
        return {name: entry.dtype for name, entry in self.entries.items()}

    @property
    def quantised(self) -> str:
        """The method of quantisation that config.json names, or ""."""
        quantisation = self.config.get("quantization_config")
        if not quantisation:
            return ""
        return str(quantisation.get("quant_method", "unknown")) if isinstance(quantisation, dict) else "unknown"

    @property
    def model_type(self) -> str:
        """Of config.json, or ""."""
        model_type = self.config.get("model_type")
        return model_type if isinstance(model_type, str) else ""

    def tensor(self, name: str) -> Tensor:
        """One tensor, finite.

        Raises:
            CheckpointError: it cannot be read, or holds NaN or Inf; the message names file, tensor and index.
        """
        return read_tensor(self.files[name], name)

    def storage(self, name: str) -> str:
        """The dtype of a weight, as torch names it.

        Raises:
            CheckpointError: it is no floating-point dtype: codes of a quantisation.
        """
        require_floats(self.files[name], name, self.entries[name])
        return FLOATS[self.entries[name].dtype]


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with its leading "~" or "~user" replaced; as it is where there is no such user.

    Raises:
        CheckpointError: a name in it is longer than any file's.
    """
    try:
        return nameable(Path(path).expanduser())
    except RuntimeError:
        return nameable(Path(path))


def nameable(path: Path) -> Path:
    """The path, if a file could have it.

    Raises:
        CheckpointError: a name in it is longer than file systems hold: a text where its file was meant.
    """
    longest = max((len(part.encode("utf-8", "surrogatepass")) for part in path.parts), default=0)
    if longest > LONGEST_NAME:
        raise CheckpointError(
            f"{str(path)[:60]!r}… is no path: a name in it has {longest} bytes, and a file's has {LONGEST_NAME} at "
            "most."
        )
    return path


def open_folder(path: Path, *, rounded: str = "") -> WeightFolder:
    """The headers of a model folder, or of one safetensors file.

    Args:
        path: exists.
        rounded: as in `WeightFolder`.

    Raises:
        CheckpointError: no safetensors in it, a damaged file, index or config.json, or one tensor name in two files.
    """
    files: dict[str, Path] = {}
    entries: dict[str, Entry] = {}
    for file in weight_files(path) if path.is_dir() else [path]:
        for name, entry in read_header(file).items():
            if name in files:
                raise CheckpointError(f"tensor {name!r} is in both {files[name]} and {file}; remove one of them.")
            files[name], entries[name] = file, entry
    buffers = tuple(filter(is_buffer, entries))
    for name in buffers:
        del files[name], entries[name]
    config = read_object(path / CONFIG) if (path / CONFIG).is_file() else {}
    return WeightFolder(path, files, entries, buffers, config, rounded)


def _is_file(path: Path) -> bool:
    """Whether there is such a file; a name that is too long for any is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder: the one file, else the shards that the index names, as in transformers.

    Raises:
        CheckpointError: there are none, or the index names a file that is not in the folder.
    """
    index = folder / INDEX
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if index.is_file():
        named = read_object(index).get("weight_map")
        if not isinstance(named, dict) or not named:
            raise CheckpointError(f"{index} is not a readable index of shards; download the folder again.")
        for name in named.values():
            if not isinstance(name, str) or Path(name).name != name or not _is_file(folder / name):
                raise CheckpointError(
                    f"{index} names the shard {str(name)[:80]!r}, which is not in {folder}; download it again."
                )
        return [folder / name for name in sorted(set(named.values()))]
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        raise CheckpointError(
            f"{folder} holds weights only as {pickles}, which can run code when read; deltalab reads safetensors only. "
            "Convert them where you trust them: `model.save_pretrained(folder)` writes model.safetensors."
        )
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{folder} holds an adapter, and no model: name its base first (deltalab spectra BASE {folder.name}), or "
            "read it onto its base with load_adapter."
        )
    adapters = sorted(file.parent.name for file in folder.glob("*/adapter_config.json"))
    if adapters:
        raise CheckpointError(f"{folder} holds adapters in folders of its own, {adapters[:5]}; name one of them.")
    shards = sorted(file.name for file in folder.glob("*.safetensors"))
    if shards:
        raise CheckpointError(
            f"{folder} has {shards[:3]} and neither {WEIGHTS} nor {INDEX}, which says what shards belong together; "
            "copy it from where they are from."
        )
    raise CheckpointError(f"{folder} has no {WEIGHTS}; a model folder is what `save_pretrained` writes.")
