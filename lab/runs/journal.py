"""Commands at work on a store: which, since when, how far; others read it while they run, and after they were killed.

An entry is ``<store>/.running/<id>.json``, replaced whole whenever something changed; its writer holds the lock of
``<id>.lock`` as long as it lives, however it ends. Keeping a journal never stops a run: where it cannot be written,
there is none.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lab.runs.lease import held, leased

RUNNING = ".running"
LOG_VARIABLE = "DELTALAB_LOG"
"""Names the file that the output of a command goes to, where somebody else may read it."""

KEPT = 50
"""Entries of commands that have ended; older ones are removed."""

_BETWEEN = 0.5  # seconds between two writings of one entry

State = Literal["running", "finished", "failed", "interrupted", "killed"]


@dataclass(frozen=True)
class Level:
    """One run of jobs, the outermost of a command or one that another waits for."""

    label: str
    done: int
    failed: int
    total: int
    before: int
    seconds: float

    @property
    def remaining(self) -> float | None:
        """Seconds to go, if what is left takes as long as what was done; None before anything was."""
        finished = self.done + self.failed - self.before
        return self.seconds / finished * (self.total - self.done - self.failed) if finished > 0 else None


@dataclass(frozen=True)
class Entry:
    """A command and how it stands.

    Attributes:
        name: of the entry.
        command: that was given, and that resumes it.
        pid: of its process, on the machine whose store this is.
        started: seconds since 1970.
        state: "killed" where its process is gone without a word.
        levels: the runs it is in, the outermost first.
        log: file of its output, or "".
    """

    name: str
    command: str
    pid: int
    started: float
    state: State
    levels: tuple[Level, ...]
    log: str


@dataclass(eq=False)
class _Journal:
    """Writes the entry of this command."""

    path: Path
    head: dict[str, Any]
    levels: list[dict[str, Any]] = field(default_factory=list)
    written: float = 0.0

    def write(self, *, now: bool = False) -> None:
        if not now and time.monotonic() - self.written < _BETWEEN:
            return
        self.written = time.monotonic()
        whole = self.path.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            whole.write_text(json.dumps(self.head | {"levels": self.levels}), encoding="utf-8")
            whole.replace(self.path)


_CURRENT: ContextVar[_Journal | None] = ContextVar("_CURRENT", default=None)


@contextmanager
def journal(store: Path, command: str) -> Iterator[None]:
    """Keeps the entry of a command while it lasts, with the runs of `run_of` inside it.

    Args:
        store: the folder of the store.
        command: what was given.
    """
    folder = store / RUNNING
    try:
        if folder.is_symlink():
            raise OSError("a store follows no link")
        folder.mkdir(parents=True, exist_ok=True)
        _tidy(folder)
    except OSError:
        yield
        return
    name = f"{time.time_ns():x}-{uuid.uuid4().hex[:8]}"
    log = os.environ.get(LOG_VARIABLE, "")
    head = {"command": command, "pid": os.getpid(), "started": time.time(), "state": "running", "log": log}
    entry = _Journal(folder / f"{name}.json", head)
    token = _CURRENT.set(entry)
    with contextlib.ExitStack() as stack:
        stack.callback(_CURRENT.reset, token)
        with contextlib.suppress(OSError):
            stack.enter_context(leased(folder / f"{name}.lock"))
        entry.write(now=True)
        try:
            yield
        except BaseException as error:
            head["state"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            raise
        else:
            head["state"] = "finished"
        finally:
            entry.write(now=True)


@contextmanager
def run_of(label: str, *, done: int, total: int) -> Iterator[Callable[[int, int], None]]:
    """A run of jobs inside the command's entry; yields what to call with the numbers of done and failed jobs."""
    entry = _CURRENT.get()
    if entry is None:
        yield lambda done, failed: None
        return
    start = time.monotonic()
    level = {"label": label, "done": done, "failed": 0, "total": total, "before": done, "seconds": 0.0}
    entry.levels.append(level)
    entry.write(now=len(entry.levels) == 1)

    def advance(done: int, failed: int) -> None:
        level.update(done=done, failed=failed, seconds=time.monotonic() - start)
        entry.write()

    try:
        yield advance
    finally:
        if len(entry.levels) > 1:  # the outermost stays, to say how far the command came
            entry.levels.remove(level)
        entry.write()


def entries(store: Path) -> list[Entry]:
    """The commands at work on a store, and the last that were, the newest first; unreadable entries are left out."""
    found = []
    for path in sorted((store / RUNNING).glob("*.json"), reverse=True):
        try:
            head = json.loads(path.read_text(encoding="utf-8"))
            levels = tuple(Level(**level) for level in head["levels"])
            command, log, state = str(head["command"]), str(head["log"]), head["state"]
            if state == "running" and not held(path.with_suffix(".lock")):
                state = "killed"
            found.append(Entry(path.stem, command, int(head["pid"]), float(head["started"]), state, levels, log))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


def _tidy(folder: Path) -> None:
    """Removes the oldest entries of commands that have ended."""
    for path in sorted(folder.glob("*.json"), reverse=True)[KEPT:]:
        if not held(path.with_suffix(".lock")):
            path.unlink(missing_ok=True)
