"""What the first page needs, loaded while the browser starts: `deltalab app` runs it beside the server's own start."""

from __future__ import annotations

import importlib

USED = ("pandas", "plotly.graph_objects", "pyarrow.parquet", "duckdb", "scipy.special", "app.panel", "app.question")
"""Modules that take a tenth of a second and more to import."""


def load() -> None:
    """Imports what pages import; a module that is missing is left to the page that misses it."""
    for name in USED:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
