"""A local task as one text: the path of its file or folder and, after a "?", the columns that are meant.

"reviews.csv?text=review&label=stars" is a name like any other: it goes where a task's name goes, into the key of a
record and to the children of an experiment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from lab.tasks.columns import TextColumn

TASK_FOLDER = "DELTALAB_TASKS"
"""Environment variable: a folder of task folders, each known by its name."""


@dataclass(frozen=True)
class Place:
    """Where a local task lies, and what is asked of its columns.

    Attributes:
        path: of the file or folder; it need not exist.
        text: the texts' column, two for pairs; None: to be found.
        label: the labels' column; None: to be found.
    """

    path: Path
    text: TextColumn = None
    label: str | None = None


def place_of(name_or_path: str | Path) -> Place:
    """The place that a name stands for; the name of a folder in $DELTALAB_TASKS is that of its path.

    Raises:
        ValueError: something else than ``text`` and ``label`` after the "?" of a file or folder that exists, or a name
            that no file can have.

    Example:
        >>> place_of("reviews.csv?text=review&label=stars")
        Place(path=PosixPath('reviews.csv'), text='review', label='stars')
    """
    whole = str(name_or_path)
    plain, mark, query = whole.rpartition("?")
    if not mark or _found(whole).exists():
        return Place(_found(name_or_path))
    asked = parse_qsl(query, keep_blank_values=True)
    texts = tuple(value for name, value in asked if name == "text")
    labels = [value for name, value in asked if name == "label"]
    if len(texts) + len(labels) < max(1, len(asked)) or len(texts) > 2 or len(labels) > 1:
        if not _found(plain).exists():
            return Place(Path(whole))
        raise ValueError(
            f"{whole!r}: expected text=COLUMN (twice for pairs) and label=COLUMN after the question mark, "
            f"got {query!r}."
        )
    text = None if not texts else texts[0] if len(texts) == 1 else (texts[0], texts[1])
    return Place(_found(plain), text, labels[0] if labels else None)


def named(name_or_path: str | Path, text: TextColumn = None, label: str | None = None) -> str:
    """The name under which `place_of` finds these columns.

    Example:
        >>> named("pairs.csv", ("premise", "hypothesis"), "class")
        'pairs.csv?text=premise&text=hypothesis&label=class'
    """
    asked = [("text", column) for column in ([text] if isinstance(text, str) else text or ())]
    asked += [] if label is None else [("label", label)]
    return f"{name_or_path}?{urlencode(asked)}" if asked else str(name_or_path)


def _found(name_or_path: str | Path) -> Path:
    """The path itself where it exists, else that of the folder of this name in $DELTALAB_TASKS."""
    path, folder = Path(name_or_path), os.environ.get(TASK_FOLDER)
    try:
        there = path.exists()
    except OSError as error:  # a name longer than any file's: a text where its file was meant
        raise ValueError(f"{str(path)[:60]!r}… is no task and no path of one: {error.strerror}.") from error
    if there or not folder or path.is_absolute() or ".." in path.parts:
        return path
    return Path(folder) / path
