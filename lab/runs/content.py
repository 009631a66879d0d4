"""What files hold, as one hash: a key that names a file must change when the file does."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

SETTLED = 2.0
"""Seconds after which an unchanged size and time of change prove an unchanged file; file systems have coarse clocks."""

_DIGESTS: dict[tuple[str, int, int], str] = {}
"""(path, size, mtime in ns) -> sha256, of files read by this process."""


def file_digest(file: Path) -> str:
    """sha256 of a file in hex; read once per process while its size and its time of change stay.

    Raises:
        OSError: it cannot be read.
    """
    path = os.path.realpath(file)
    before = os.stat(path)
    place = (path, before.st_size, before.st_mtime_ns)
    if place in _DIGESTS:
        return _DIGESTS[place]
    total = sha256()
    with open(path, "rb") as opened:
        while chunk := opened.read(1 << 22):
            total.update(chunk)
    if time.time() - before.st_mtime > SETTLED:
        _DIGESTS[place] = total.hexdigest()
    return total.hexdigest()


def content_digest(files: Mapping[str, Path]) -> str:
    """sha256 in hex of several files, each under a name that does not depend on where it lies.

    Args:
        files: name -> file; the order does not matter.

    Raises:
        OSError: one cannot be read.
    """
    total = sha256()
    for name in sorted(files):
        total.update(f"{len(name.encode())} {name} {file_digest(files[name])}\n".encode())
    return total.hexdigest()
