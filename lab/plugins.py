"""What other packages add: methods, projections, tasks, figures and experiments, by entry points of their metadata.

A package says so in its ``pyproject.toml``, and nothing here is edited:

    [project.entry-points."deltalab.methods"]
    volume = "my_package.volume:Volume"

    [project.entry-points."deltalab.experiments"]
    loudness = "my_package.loudness"

The module of a task imports from modules (`lab.tasks.load`), not from the room, whose list is being made while it is
imported; the other lists are made when they are first asked for, whoever is imported first.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

KINDS = ("methods", "projections", "tasks", "figures", "experiments")


@cache
def offered(kind: str) -> tuple[EntryPoint, ...]:
    """The entry points of ``deltalab.KIND``, by name; nothing is imported.

    Args:
        kind: one of `KINDS`. A method is a class derived from `DeltaMethod`, a projection one derived from
            `Projection`, a task a `TaskSource`, a figure a `Figure`, an experiment the module that makes it.
    """
    return tuple(sorted(entry_points(group=f"deltalab.{kind}"), key=lambda point: point.name))


def loaded(kind: str, base: type) -> tuple[Any, ...]:
    """What the entry points of a kind stand for.

    One that cannot be imported, or is something else, is left out with a warning that names its package: a broken
    package of others must not take the laboratory down.

    Args:
        kind: one of `KINDS`.
        base: the class that it must be an instance of, or derive from.
    """
    found = []
    for point in offered(kind):
        package = point.dist.name if point.dist is not None else point.value
        try:
            made = point.load()
        except Exception as error:  # code of others fails in any way
            warnings.warn(f"{kind[:-1]} {point.name!r} of the package {package!r} is left out: {error!r}")
            continue
        if isinstance(made, base) or (isinstance(made, type) and issubclass(made, base)):
            found.append(made)
        else:
            warnings.warn(
                f"{kind[:-1]} {point.name!r} of the package {package!r} is left out: it is {made!r}, expected a "
                f"{base.__name__}"
            )
    return tuple(found)
