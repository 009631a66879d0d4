"""From a name to a folder of weights: a packaged PLM, a local folder, a hub id."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lab.checkpoints.error import CheckpointError
from lab.checkpoints.folder import WeightFolder, open_folder
from lab.models.hub import hub_folder
from lab.models.packaged import PACKAGED, model_folder


def model_source(name: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]]:
    """The folder of a PLM, downloaded or unpacked if need be, and where it came from.

    Args:
        name: as for `load_plm`.

    Returns:
        The folder, and {"source": "package", "folder" or "hub", "quantised": the format it was dequantised from or
        None, …}.

    Raises:
        ModuleNotFoundError: a packaged PLM that is not installed; the message is the command.
        FileNotFoundError: a path that is no folder.
        OSError: an id that is not in the hub's cache, and no network.
    """
    text = os.fspath(name)
    for choice in PACKAGED:
        if choice.name == text:
            quantised = "Q4_1" if choice.gguf else None
            return model_folder(choice), {"source": "package", "package": choice.package, "quantised": quantised}
    folder = Path(text).expanduser()
    if folder.is_dir():
        return folder, {"source": "folder", "quantised": None}
    if isinstance(name, Path) or text.startswith((".", "~", os.sep)) or text.count("/") > 1:
        raise FileNotFoundError(f"there is no folder {text!r}; give a folder with config.json and model.safetensors.")
    folder = hub_folder(text)
    return folder, {"source": "hub", "revision": folder.name, "quantised": None}


def open_weights(source: str | os.PathLike[str]) -> WeightFolder:
    """The headers of a model folder, of one safetensors file, or of what `load_plm` knows by name.

    Args:
        source: a path, a packaged PLM ("minilm", "smollm2"), or a hub id.

    Raises:
        CheckpointError: no such path, no safetensors in it, a damaged file, or one tensor name in two files.
        ModuleNotFoundError, OSError: a name whose folder is not to be had, as in `load_plm`.
    """
    path = Path(source)
    if path.exists():
        return open_folder(path)
    try:
        path, origin = model_source(source)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no {path}; give a model folder or a .safetensors file.") from error
    return open_folder(path, rounded=origin["quantised"] or "")
