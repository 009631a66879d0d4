"""``python -m lab`` is ``deltalab``. Until the commands are loaded, Ctrl-C ends the program at once and in silence."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Entry point of the ``deltalab`` command."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell lets it be ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.setdefault("GOMP_SPINCOUNT", "0")  # read when torch is loaded: docs/runs.md, "Threads that wait"
    from lab import cli  # what takes time

    cli.main()  # Python's own handler again


if __name__ == "__main__":
    main()
