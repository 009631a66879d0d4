"""Where records are written before they are renamed into place, and how leftovers of killed writers are recognised.

A staging folder is called ``<writer>.<pid>.<random>``, where the writer is a digest of host name, boot and process
namespace: only a process that shares all three can tell from the pid whether the other one lives. Leftovers of other
machines go when they are a day old, by far longer than the writing of a record takes. Leases of jobs (`lab.runs.lease`)
lie beside them; one that nobody holds is a leftover. Nothing that has another name is ever removed, and nothing behind
a symbolic link is touched.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import time
import uuid
from pathlib import Path

from lab.runs.errors import StoreError
from lab.runs.lease import remove_unheld

STAGING = ".staging"
LEASE = ".claim"  # as programs of older versions write it, which wait for one another with ours
ABANDONED_AFTER = 24 * 3600.0  # seconds


_FOLDER = re.compile(r"(?P<writer>[0-9a-f]{16})\.(?P<pid>[0-9]+)\.[0-9a-f]{32}")
_LEASE_FILE = re.compile(rf"[0-9a-f]{{64}}{re.escape(LEASE)}")


def staging_folder(store: Path) -> Path:
    """The folder for what is being written; made if it is not there.

    Raises:
        StoreError: it is a symbolic link: what lies behind it is not the store's.
        OSError: it cannot be made.
    """
    folder = store / STAGING
    if folder.is_symlink():
        raise StoreError(f"{folder} is a symbolic link, which a store does not follow; remove the link and run again")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def lease_file(store: Path, name: str) -> Path:
    """The file that is locked by whoever works on the job of this key.

    Raises:
        StoreError, OSError: as in `staging_folder`.
    """
    return staging_folder(store) / f"{name}{LEASE}"


def new_staging(store: Path) -> Path:
    """A fresh empty folder on the file system of the store.

    Raises:
        StoreError, OSError: as in `staging_folder`.
    """
    folder = staging_folder(store) / f"{_writer()}.{os.getpid()}.{uuid.uuid4().hex}"
    folder.mkdir()
    return folder


def remove_abandoned(store: Path) -> None:
    """Removes the staging folders whose writers died, or that are a day old, and the leases that nobody holds.

    Raises:
        StoreError, OSError: as in `staging_folder`.
    """
    for entry in list(staging_folder(store).iterdir()):
        if entry.is_symlink():
            continue
        if _LEASE_FILE.fullmatch(entry.name):
            remove_unheld(entry)
        elif _abandoned(entry):
            shutil.rmtree(entry, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    found = _FOLDER.fullmatch(folder.name)
    if found is None:
        return False
    if found["writer"] == _writer() and not _alive(int(found["pid"])):
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
