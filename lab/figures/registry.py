"""Which figures there are: every file of this folder that holds a `Figure` of its own name, read when first asked."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING

import lab.figures
from lab.plugins import loaded

if TYPE_CHECKING:
    from lab.figures.definition import Figure

GROUPS = ("training", "dimension", "weights", "loss", "methods", "control")
"""The themes of figures, in the order of `FIGURES`."""


@cache
def every() -> tuple[Figure, ...]:
    """All figures, by group and by their order in it."""
    names = [module.name for module in pkgutil.iter_modules(lab.figures.__path__) if not module.ispkg]
    found = [drawn for name in names if (drawn := defined(name)) is not None]
    found += _of_others()
    return tuple(sorted(found, key=lambda drawn: (GROUPS.index(drawn.group), drawn.order, drawn.name)))


def of(group: str) -> tuple[Figure, ...]:
    """The figures of a group, in their order."""
    return tuple(drawn for drawn in every() if drawn.group == group)


def figure(name: str) -> Figure:
    """The figure of this name; ``-`` and ``_`` are the same.

    Raises:
        ValueError: there is none; the message names near ones, and the command that shows all.
    """
    asked = name.replace("-", "_")
    found = defined(asked) if asked.isidentifier() else None
    if found is None:
        names = [drawn.name for drawn in every()]
        meant = f"did you mean {' or '.join(near)}? " if (near := _near(asked, names)) else ""
        raise ValueError(f"no figure is called {name!r}; {meant}`deltalab list --figures` shows all {len(names)}")
    return found


def _near(asked: str, names: list[str]) -> list[str]:
    """At most three names that are spelled nearly so, or share a word with what was asked."""
    words = {word for word in asked.split("_") if len(word) > 2}
    alike = [name for name in names if any(word in name for word in words)]
    return list(dict.fromkeys([*get_close_matches(asked, names, n=3, cutoff=0.7), *alike]))[:3]


def defined(name: str) -> Figure | None:
    """The figure that the file of this name holds; None where it holds none, or where there is no such file."""
    from lab.figures.definition import Figure  # pandas and plotly, for those who draw

    if importlib.util.find_spec(f"lab.figures.{name}") is None:
        return next((drawn for drawn in _of_others() if drawn.name == name), None)
    found = getattr(importlib.import_module(f"lab.figures.{name}"), name.upper(), None)
    return found if isinstance(found, Figure) else None


@cache
def _of_others() -> tuple[Figure, ...]:
    """The figures of other packages."""
    from lab.figures.definition import Figure

    return loaded("figures", Figure)
