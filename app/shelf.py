"""Texts that took long to make, on disk: found again by the next start of the explorer.

Whatever goes wrong with the disk costs time and nothing else: what cannot be read is made again, what cannot be written
is made again by the next start.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path

from lab.runs.places import cache_folder

MOST = 1000
"""Files that are kept; of more the oldest half goes."""


def taken(identity: str) -> dict[str, str] | None:
    """What was put under this identity; None where there is nothing, or nothing of that form."""
    try:
        found = json.loads(_file(identity).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if whole else None


def put(identity: str, texts: Mapping[str, str]) -> None:
    """Keeps texts under an identity: 64 hex digits."""
    target = _file(identity)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=target.parent, suffix=".draft")
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(dict(texts), out)
        os.replace(draft, target)
        _prune(target.parent)
    except OSError:
        return


@cache
def code(*folders: Path) -> str:
    """sha256 of the Python in these folders: what it made is made anew after a change of it."""
    total = sha256()
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            total.update(file.read_bytes())
    return total.hexdigest()


def _prune(folder: Path) -> None:
    files = list(folder.iterdir())
    if len(files) > MOST:
        for file in sorted(files, key=lambda file: file.stat().st_mtime)[: len(files) - MOST // 2]:
            file.unlink(missing_ok=True)


def _file(identity: str) -> Path:
    return cache_folder() / "cards" / f"{identity}.json"
