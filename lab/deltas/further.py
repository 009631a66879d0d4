"""Methods that nobody has listed: a file of this folder with ``METHOD = TheClass`` is found by being there."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

from lab.deltas.method import DeltaMethod

_PACKAGE = __name__.rpartition(".")[0]


def further() -> tuple[type[DeltaMethod], ...]:
    """The `METHOD` of every file of this folder that has one and is not imported yet.

    Raises:
        TypeError: a `METHOD` that is no class of methods.
    """
    found = []
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        name = f"{_PACKAGE}.{module.name}"
        if name not in sys.modules and (method := getattr(importlib.import_module(name), "METHOD", None)) is not None:
            if not (isinstance(method, type) and issubclass(method, DeltaMethod)):
                raise TypeError(f"{name}.METHOD is {method!r}; expected a class that derives from DeltaMethod")
            found.append(method)
    return tuple(found)
