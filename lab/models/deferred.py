"""transformers, imported when one of its names is first used: reading its list of models alone takes a second."""

from __future__ import annotations

import importlib
from typing import Any


class _Deferred:
    """A module that is imported when an attribute of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


transformers: Any = _Deferred("transformers")
