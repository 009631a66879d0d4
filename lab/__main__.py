"""``python -m lab`` is ``deltalab``. Until the commands are loaded, Ctrl-C ends the program at once and in silence."""

from __future__ import annotations

import signal


def main() -> None:
    """Entry point of the ``deltalab`` command."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from lab import cli  # what takes time

    signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
