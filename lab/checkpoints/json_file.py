"""JSON objects that somebody else wrote: no deeper, no longer than any configuration needs to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.checkpoints.error import CheckpointError

DEEPEST = 64  # levels; configurations have about five
LONGEST = 1 << 26  # bytes; the index of a model in a thousand shards has a few million


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        CheckpointError: it cannot be read, is no JSON object, or is too long or too deeply nested to be one of ours.
    """
    try:
        if file.stat().st_size > LONGEST:
            raise CheckpointError(f"{file} is longer than {LONGEST >> 20} MB: no configuration; save it again.")
        found = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise CheckpointError(f"{file} is nested too deeply to be a configuration; save it again.") from error
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{file} is not readable JSON ({error}); save it again.") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{file} holds no JSON object but a {type(found).__name__}; save it again.")
    _require_shallow(file, found)
    return found


def _require_shallow(file: Path, found: Any) -> None:
    level = [found]
    for _ in range(DEEPEST):
        level = [value for item in level for value in _children(item)]
        if not level:
            return
    raise CheckpointError(f"{file} is nested more than {DEEPEST} levels deep: no configuration; save it again.")


def _children(item: Any) -> list[Any]:
    values = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return [value for value in values if isinstance(value, dict | list)]
