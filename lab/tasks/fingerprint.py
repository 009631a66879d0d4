"""What a local task file or folder holds, as one hash."""

from __future__ import annotations

from pathlib import Path

from lab.runs.content import content_digest
from lab.tasks.files import split_files
from lab.tasks.load import TASKS
from lab.tasks.place import place_of


def fingerprint(name_or_path: str | Path, few_shot_split: str | None = None) -> str | None:
    """sha256 of the local files that `load_task` reads for a name or path.

    The name and place of the file or folder, its columns' names, and files that hold no split, do not enter.

    Args:
        name_or_path: as for `load_task`; a folder in $DELTALAB_TASKS is local too.
        few_shot_split: as for `load_task`.

    Returns:
        64 hexadecimal digits; None for what is no local file or folder: packaged tasks, those of the hub.

    Raises:
        BadFile: a folder without train or validation file.
        OSError: a file cannot be read.
    """
    path = place_of(name_or_path).path
    if any(source.name == str(name_or_path) for source in TASKS):
        return None
    if path.is_dir():
        return content_digest(
            {f"{split}{file.suffix}": file for split, file in split_files(path, few_shot_split).items()}
        )
    return content_digest({path.suffix: path}) if path.is_file() else None
