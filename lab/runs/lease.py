"""One process at a time on one job: a lock that the kernel drops when its holder ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

SAID_AFTER = 2.0  # seconds of waiting: what takes less need not be told

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def leased(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds the lock of an empty file, which is there while somebody holds it or waits for it.

    Who comes second waits. A holder may lease other files inside, as long as no two wait for each other's. Where the
    file system has no locks nothing is held, and nobody waits.

    Args:
        path: the file.
        waiting: called once, from another thread, when the wait has taken `SAID_AFTER` seconds.

    Raises:
        OSError: the file cannot be written, or is a symbolic link.
    """
    descriptor = _locked(path, waiting)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # still held: who waits finds the name gone, or another file's
        os.close(descriptor)


def held(path: Path) -> bool:
    """Whether somebody holds the lock of a file now; not where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_unheld(path: Path) -> None:
    """Removes a file that its holder, killed, left behind."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:  # its holder removed it
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _names(path, descriptor):
            path.unlink()
    except OSError:  # it is held
        pass
    finally:
        os.close(descriptor)


def _locked(path: Path, waiting: Callable[[], None] | None) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            _wait_for(descriptor, waiting)
        except BaseException as error:
            if isinstance(error, OSError) and error.errno in _NO_LOCKS:
                return descriptor
            os.close(descriptor)  # Ctrl-C while waiting
            raise
        if _names(path, descriptor):
            return descriptor
        os.close(descriptor)


def _wait_for(descriptor: int, waiting: Callable[[], None] | None) -> None:
    """Takes the lock; who has to wait for it says so after a while."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        said = Timer(SAID_AFTER, waiting or (lambda: None))
        said.daemon = True
        said.start()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        finally:
            said.cancel()


def _names(path: Path, descriptor: int) -> bool:
    """Whether a path still names an open file; its last holder may have removed it meanwhile."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
