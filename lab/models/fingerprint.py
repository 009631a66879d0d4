"""What a local model folder holds, as one hash."""

from __future__ import annotations

import os

from lab.checkpoints.folder import expanded
from lab.models.hub import WANTED
from lab.models.packaged import PACKAGED
from lab.runs.content import content_digest


def fingerprint(name_or_path: str | os.PathLike[str]) -> str | None:
    """sha256 of what a local model folder holds: configuration, weights and tokenizer.

    The folder's own name and place, and files that no model is read from, do not enter.

    Args:
        name_or_path: as for `load_plm`.

    Returns:
        64 hexadecimal digits; None for what is not a local folder: packaged PLMs, built-in ones, hub ids.

    Raises:
        OSError: a file of the folder cannot be read.
    """
    text = os.fspath(name_or_path)
    folder = expanded(text)
    if any(choice.name == text for choice in PACKAGED) or not folder.is_dir():
        return None
    files = {file.name: file for pattern in WANTED for file in folder.glob(pattern) if file.is_file()}
    return content_digest(files)
