"""Where stores are: the user's, and the gallery that ships with the lab; and where what can be made again is kept."""

from __future__ import annotations

import os
from pathlib import Path

from lab.runs.store import Overlay, Store

STORE_VARIABLE = "DELTALAB_STORE"
_LAB = Path(__file__).resolve().parents[1]
GALLERY = next((place for place in (_LAB / "gallery", _LAB.parent / "gallery") if place.is_dir()), _LAB / "gallery")
"""Installed, it lies inside the package; in a clone of the project, beside it."""


def user_store(path: str | Path | None = None) -> Store:
    """The store at `path`; without one, at ``$DELTALAB_STORE``; without that, at ``./runs``.

    Raises:
        StoreError: the path is a file.
    """
    return Store(path or os.environ.get(STORE_VARIABLE) or "runs")


def everything(path: str | Path | None = None) -> Overlay:
    """The user's store laid over the gallery, where there is one: what `list`, `show`, `export` and the app read."""
    stores = [user_store(path)]
    return Overlay(*stores, *([Store(GALLERY)] if GALLERY.is_dir() else []))


def cache_folder() -> Path:
    """Where what can be made again is kept (weights, cards): $DELTALAB_CACHE, else ~/.cache/deltalab."""
    return Path(os.environ.get("DELTALAB_CACHE") or Path.home() / ".cache" / "deltalab").expanduser()
