"""From a name to a folder of weights: a packaged PLM, a local folder, a hub id."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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
