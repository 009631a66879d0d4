"""The command that made a record, as anyone can give it: without places of the machine it ran on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from lab.runs import Record

TASK_FOLDER = "DELTALAB_TASKS=FOLDER"
"""What a command needs in front of it where a task is a folder: FOLDER stands for the one above it (docs/tasks.md)."""


def commands_of(records: Sequence[Record]) -> tuple[str, ...]:
    """The commands that made these records, each once, in the order of the records; empty where none is known.

    Each is what the record's provenance holds, in one spelling: ``--name=value``, no ``--store``, of a path its last
    part, and `TASK_FOLDER` in front where a task of the record is no package.
    """
    found = []
    for record in records:
        given = record.provenance.get("command")
        if isinstance(given, str) and given:
            folder = any(map(_is_folder, _tasks(record.job.config)))
            found.append(f"{TASK_FOLDER} {_portable(given)}" if folder else _portable(given))
    return tuple(dict.fromkeys(found))


def _portable(command: str) -> str:
    words, parts = shlex.split(command), []
    while words:
        word = words.pop(0)
        if word.startswith("--") and "=" not in word and words and not words[0].startswith("--"):
            word = f"{word}={words.pop(0)}"
        name, separator, value = word.partition("=")
        if name != "--store":
            values = [PurePath(v).name if PurePath(v).is_absolute() else v for v in value.split(",")]
            parts.append(name + separator + ",".join(values))
    return shlex.join(parts)


def _tasks(config: Mapping[str, Any]) -> Iterator[str]:
    """Every name that a config calls ``task``, ``tuning_task`` or lists as ``tasks``, at any depth."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _tasks(value)
        elif name in ("task", "tuning_task", "tasks"):
            yield from [value] if isinstance(value, str) else value


def _is_folder(task: str) -> bool:
    from lab.tasks import TASKS  # brings torch with it

    return not task.startswith("glue/") and all(source.name != task for source in TASKS)
