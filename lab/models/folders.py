"""From a name to a folder of weights: a packaged PLM, a local folder, a hub id."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from torch import nn

from lab.checkpoints.error import CheckpointError
from lab.checkpoints.folder import WeightFolder, expanded, open_folder
from lab.models.hub import hub_folder
from lab.models.in_memory import Source, model_on_disk
from lab.models.packaged import PACKAGED, model_folder

MOST_TENSORS = 10_000
"""In one file whose tensors are read one at a time; models in shards have a thousand at most."""


def model_source(name: Source) -> tuple[Path, dict[str, Any]]:
    """The folder of a PLM, downloaded or unpacked if need be, and where it came from.

    Args:
        name: as for `load_plm`.

    Returns:
        The folder, and {"source": "package", "folder", "hub" or "memory", "quantised": the format it was dequantised
        from or None, …}.

    Raises:
        ModuleNotFoundError: a packaged PLM that is not installed; the message is the command.
        FileNotFoundError: a path that is no folder.
        OSError: an id that is not in the hub's cache, and no network.
        TypeError, ValueError: a model in memory that cannot be written (`lab.models.in_memory`).
    """
    if isinstance(name, nn.Module):
        return model_on_disk(name), {"source": "memory", "quantised": None}
    text = os.fspath(name)
    for choice in PACKAGED:
        if choice.name == text.lower() and not Path(text).exists():
            origin = {"source": "package", "package": choice.package, "quantised": choice.quantised}
            return model_folder(choice), origin
    folder = expanded(text)
    if folder.is_dir():
        return folder, {"source": "folder", "quantised": None}
    if folder.is_file():
        raise FileNotFoundError(f"{text!r} is a file, and a model is a folder; give the one that holds it.")
    if isinstance(name, Path) or text.startswith((".", "~", os.sep)) or text.count("/") > 1:
        raise FileNotFoundError(f"there is no folder {text!r}; give a folder with config.json and model.safetensors.")
    folder = hub_folder(text)
    return folder, {"source": "hub", "revision": folder.name, "quantised": None}


def open_weights(source: Source) -> WeightFolder:
    """The headers of a model folder, of one safetensors file, or of what `load_plm` knows by name.

    Args:
        source: a path, a packaged PLM ("minilm", "smollm2", …), a hub id, or a model in memory.

    Raises:
        CheckpointError: no such path, no safetensors in it, a damaged file, or one tensor name in two files.
        ModuleNotFoundError, OSError: a name whose folder is not to be had, as in `load_plm`.
    """
    if isinstance(source, nn.Module):
        return _of_few_tensors(open_folder(model_on_disk(source)))
    path = expanded(source)
    if path.exists():
        return _of_few_tensors(open_folder(path))
    try:
        path, origin = model_source(source)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no {path}; give a model folder or a .safetensors file.") from error
    return _of_few_tensors(open_folder(path, rounded=origin["quantised"] or ""))


def _of_few_tensors(opened: WeightFolder) -> WeightFolder:
    """Tensors are read one by one, each after its file's header: that is slow in files of very many."""
    for file, n in Counter(opened.files.values()).items():
        if n > MOST_TENSORS:
            raise CheckpointError(
                f"{file} holds {n:,} tensors; at most {MOST_TENSORS:,} in a file are compared: save it in shards."
            )
    return opened
