"""Figures as pure functions of tidy tables; neither torch nor transformers is imported here.

A figure is one file of this folder, which holds a `Figure` of its own name: ``cka.py`` holds ``CKA``. Nothing else
registers it: its `group` and `order` say where it stands. All of them, and what draws and writes them, are imported
when they are first asked for, so that a program that draws nothing pays for nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.figures.d90 import D90, answers
    from lab.figures.definition import IDENTITY, TEXT, Column, Figure, TableError
    from lab.figures.exporting import Exported, Skipped, export, rendered, sheet_count
    from lab.figures.formats import FORMATS
    from lab.figures.images import HOW_TO_GET_A_BROWSER, ImageError, find_browser
    from lab.figures.registry import GROUPS, figure
    from lab.figures.sources import Source
    from lab.figures.style import CONFIG, DARK, LIGHT, SIZES, THEMES, Size, Theme

    FIGURES: tuple[Figure, ...]

_HOMES = {
    "d90": ("D90", "answers"),
    "definition": ("IDENTITY", "TEXT", "Column", "Figure", "TableError"),
    "exporting": ("Exported", "Skipped", "export", "rendered", "sheet_count"),
    "formats": ("FORMATS",),
    "images": ("HOW_TO_GET_A_BROWSER", "ImageError", "find_browser"),
    "registry": ("GROUPS", "figure"),
    "sources": ("Source",),
    "style": ("CONFIG", "DARK", "LIGHT", "SIZES", "THEMES", "Size", "Theme"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A figure by its name in capitals, all of them as `FIGURES`, or what is needed to draw and write them."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"lab.figures.{_MODULES[name]}"), name)
    registry = importlib.import_module("lab.figures.registry")
    if name == "FIGURES":
        return registry.every()
    found = registry.defined(name.lower()) if name.isupper() else None
    if found is None:
        raise AttributeError(f"module 'lab.figures' has no attribute {name!r}")
    return found


def __dir__() -> list[str]:
    figures = importlib.import_module("lab.figures.registry").every()
    return sorted([*_MODULES, "FIGURES", *(drawn.name.upper() for drawn in figures)])


__all__ = [
    "CONFIG",
    "D90",
    "DARK",
    "FIGURES",
    "FORMATS",
    "GROUPS",
    "HOW_TO_GET_A_BROWSER",
    "IDENTITY",
    "LIGHT",
    "SIZES",
    "TEXT",
    "THEMES",
    "Column",
    "Exported",
    "Figure",
    "ImageError",
    "Size",
    "Skipped",
    "Source",
    "TableError",
    "Theme",
    "answers",
    "export",
    "figure",
    "find_browser",
    "rendered",
    "sheet_count",
]
