"""Where records are written before they are renamed into place, and how leftovers of killed writers are recognised.

A staging folder is called ``<writer>.<pid>.<random>``, where the writer is a digest of host name, boot and process
namespace: only a process that shares all three can tell from the pid whether the other one lives. Leftovers of other
machines go when they are a day old, by far longer than the writing of a record takes. Leases of jobs (`lab.runs.lease`)
lie beside them; one that nobody holds is a leftover.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import time
import uuid
from pathlib import Path

from lab.runs.lease import remove_unheld

STAGING = ".staging"
LEASE = ".claim"  # as programs of older versions write it, which wait for one another with ours
ABANDONED_AFTER = 24 * 3600.0  # seconds


def lease_file(store: Path, name: str) -> Path:
    """The file that is locked by whoever works on the job of this key."""
    return store / STAGING / f"{name}{LEASE}"


def new_staging(store: Path) -> Path:
    """A fresh empty folder on the file system of the store."""
    folder = store / STAGING / f"{_writer()}.{os.getpid()}.{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    return folder


def remove_abandoned(store: Path) -> None:
    """Removes the staging folders whose writers died, or that are a day old, and the leases that nobody holds."""
    staging = store / STAGING
    for entry in list(staging.iterdir()) if staging.is_dir() else []:
        if entry.suffix == LEASE:
            remove_unheld(entry)
        elif _abandoned(entry):
            shutil.rmtree(entry, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    writer, _, rest = folder.name.partition(".")
    pid = rest.partition(".")[0]
    if writer == _writer() and pid.isdecimal() and not _alive(int(pid)):
        return True
    try:
        return time.time() - folder.stat().st_mtime > ABANDONED_AFTER
    except OSError:  # someone else removed it
        return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it exists, and is someone else's
        return True
    return True


def _writer() -> str:
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(os.readlink(path) if path.endswith("/pid") else Path(path).read_text())
        except OSError:  # not Linux: the host name has to do
            parts.append("")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
