"""What the first page needs, loaded while the browser starts: `deltalab app` runs it beside the server's own start."""

from __future__ import annotations

import contextlib
import gc
import importlib

from lab.runs import StoreError

USED = ("pandas", "plotly.graph_objects", "pyarrow.parquet", "duckdb", "scipy.special", "app.panel", "app.question")
"""Modules that take a tenth of a second and more to import."""


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
