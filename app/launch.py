"""Commands started, watched and stopped from a page; each is a process of its own, which outlives page and server."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path

from lab.runs.journal import LOG_VARIABLE, RUNNING, Entry

_PROGRAM = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('lab', run_name='__main__', alter_sys=True)"
)
"""``python -m lab`` that Ctrl-C reaches, also where the server ignores it, as one in the background of a shell does."""

SHOWN = 20_000
"""Characters of a log's end that a page shows."""


def start(arguments: Sequence[str], store: Path) -> None:
    """Starts ``deltalab ARGUMENTS`` on a store; its output goes to a log beside its entry.

    Args:
        arguments: words of the command; they reach it as they are, no shell reads them.
        store: the folder of the store.

    Raises:
        OSError: the log cannot be written, or no process can be started.
    """
    folder = store / RUNNING
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{uuid.uuid4().hex}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "DELTALAB_STORE": str(store), LOG_VARIABLE: str(log)},
        )
    threading.Thread(target=process.wait, daemon=True).start()  # so that no ended process is left behind


def again(entry: Entry, store: Path) -> None:
    """Starts a command that has ended once more; what it finished is not repeated.

    Raises:
        OSError: as `start`.
        ValueError: the entry holds no command of the lab's.
    """
    words = shlex.split(entry.command)
    if words[:2] != ["deltalab", "run"]:
        raise ValueError(f"the entry holds {entry.command!r}, which is no run; start it in a terminal.")
    start(words[1:], store)


def stop(entry: Entry) -> None:
    """Interrupts a command as Ctrl-C does: what is finished is kept."""
    if entry.state == "running":
        os.kill(entry.pid, signal.SIGINT)


def log_end(entry: Entry) -> str:
    """The end of a command's output; "" where it is not kept here."""
    try:
        return Path(entry.log).read_text(encoding="utf-8", errors="replace")[-SHOWN:] if entry.log else ""
    except OSError:
        return ""
