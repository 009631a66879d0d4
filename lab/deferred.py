"""Packages that take long to import, imported when one of their names is first used: listing records needs none.

``from lab.deferred import pandas as pd`` instead of ``import pandas as pd``; all else stays as it is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


class Deferred:
    """Stands for a module until an attribute of it is asked for.

    Args:
        name: of the module, with dots.

    Raises:
        ModuleNotFoundError: at the first use, where the module is not installed.

    Example:
        >>> json = Deferred("json")
        >>> json.dumps([1])
        '[1]'
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"Deferred({self._name!r})"

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


transformers: Any = Deferred("transformers")
huggingface_hub: Any = Deferred("huggingface_hub")
hub_errors: Any = Deferred("huggingface_hub.errors")

if TYPE_CHECKING:
    import duckdb
    import numpy
    import pandas
    import plotly.colors as plotly_colors
    import plotly.graph_objects as graph_objects
    import pyarrow
    import pyarrow.parquet as parquet
    import safetensors
    import safetensors.numpy as numpy_files
else:
    duckdb = Deferred("duckdb")
    numpy = Deferred("numpy")
    pandas = Deferred("pandas")
    plotly_colors = Deferred("plotly.colors")
    graph_objects = Deferred("plotly.graph_objects")
    pyarrow = Deferred("pyarrow")
    parquet = Deferred("pyarrow.parquet")
    safetensors = Deferred("safetensors")
    numpy_files = Deferred("safetensors.numpy")

__all__ = [
    "Deferred",
    "duckdb",
    "graph_objects",
    "hub_errors",
    "huggingface_hub",
    "numpy",
    "numpy_files",
    "pandas",
    "parquet",
    "plotly_colors",
    "pyarrow",
    "safetensors",
    "transformers",
]
