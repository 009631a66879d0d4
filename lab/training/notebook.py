"""A bar in Jupyter while a training run lasts; nothing elsewhere."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

_BETWEEN = 0.25  # seconds: a browser redraws no faster than people look


class Bar:
    """Done, loss and time to go, in an output cell of its own that is emptied at the end.

    It is a `Progress`: called with (step, steps, loss).
    """

    def __init__(self, display: Any, html: Any) -> None:
        self._html, self._start, self._shown = html, time.monotonic(), 0.0
        self._handle = display(html(""), display_id=True)

    def __call__(self, step: int, steps: int, loss: float) -> None:
        now = time.monotonic()
        if now - self._shown >= _BETWEEN or step == steps:
            left = (now - self._start) / max(1, step) * (steps - step)
            bar = f'<progress value="{step}" max="{steps}"></progress>'
            self._handle.update(self._html(f"{bar} {step} of {steps} steps, loss {loss:.4g}, {left:.0f} s to go"))
            self._shown = now

    def close(self) -> None:
        """Empties the cell."""
        self._handle.update(self._html(""))


def bar() -> Bar | None:
    """A bar where this process is the kernel of a notebook; ``DELTALAB_PROGRESS=0`` in the environment wants none."""
    if "ipykernel" not in sys.modules or os.environ.get("DELTALAB_PROGRESS") == "0":
        return None
    from IPython import get_ipython
    from IPython.display import HTML, display

    shell = get_ipython()
    return Bar(display, HTML) if shell is not None and hasattr(shell, "kernel") else None
