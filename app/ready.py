"""What the first page needs, loaded while the browser starts: `deltalab app` runs it beside the server's own start."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

from lab.runs import StoreError

USED = ("pandas", "plotly.graph_objects", "pyarrow.parquet", "duckdb", "scipy.special", "app.panel", "app.question")
"""Modules that take a tenth of a second and more to import."""


LATER = ("app.playgrounds.quadratic", "app.playgrounds.projections")
"""What pages need that the first one does not; brings torch, which is a second to import and is shared by sessions."""

PAUSE = 5.0
"""Time that the first page has for itself [s]."""

_HERE = Path(__file__).parent

_COMPILE = (
    "from app.playgrounds.projections import PLAYGROUND as room\n"
    "for name in room.knobs['name'][1]: room.simulate(name, 64, 2)"
)


def begin() -> None:
    """What `deltalab app` runs beside the server: what the first page needs, and after a pause what others do."""
    load()
    time.sleep(PAUSE)
    further()


def further() -> None:
    """Imports what playgrounds import, and has the projections' kernels compiled where no process has yet."""
    for name in LATER:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    settle()
    with contextlib.suppress(OSError):
        compiled()


def compiled() -> int:
    """Compiles the kernels in a process of its own, behind all others; numba keeps them on disk for the next one.

    Returns:
        Its exit status.

    Raises:
        OSError: no process can be started.
    """
    paths = os.pathsep.join([str(_HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    code = f"import contextlib, os\nwith contextlib.suppress(OSError, AttributeError): os.nice(19)\n{_COMPILE}"
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ).returncode  # fmt: skip


def load() -> None:
    """Imports what pages import, and reads the heads of the records; what fails is left to the page that needs it."""
    for name in USED:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    with contextlib.suppress(ImportError, OSError, StoreError):
        importlib.import_module("app.loading").contents()
    settle()


def settle() -> None:
    """Spares what is in memory now the rounds for garbage: Streamlit makes one after every page, over all objects.

    Modules and the heads of records are a quarter of a million of them, and stay as long as the server does.
    """
    gc.collect()
    gc.freeze()
