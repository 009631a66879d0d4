"""The Python reference: a page for each room of `lab`, with every name that it offers."""

from __future__ import annotations

import ast
import importlib
import inspect
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import GenericAlias, ModuleType

from docstrings import literal

import lab

HIDDEN = ("commands",)


def reference() -> dict[str, str]:
    """Page -> text."""
    rooms = [room for room in lab.rooms() if room not in HIDDEN]
    entries: dict[int, str] = {}
    pages = {f"reference/python/{room}.rst": _room(importlib.import_module(f"lab.{room}"), entries) for room in rooms}
    pages["reference/python/start.rst"] = _start()
    names = "\n".join(["python/start", *(f"python/{room}" for room in rooms)])
    lines = [
        f"| [lab.{room}](python/{room}.rst) | {_first(importlib.import_module(f'lab.{room}'))} |" for room in rooms
    ]
    table = "\n".join(
        ["| room | what it is |", "|---|---|", "| [lab](python/start.rst) | what one starts with |", *lines]
    )
    pages["reference/python.md"] = (
        "# Python\n\n`import lab`, or `import deltalab as dl`, gives what one starts with; the rooms have the rest.\n\n"
        f"{table}\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"
    )
    return pages


def _first(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().splitlines()[0].replace("|", "\\|")


def _start() -> str:
    """The names of `lab` itself: where they are at home."""
    head = "lab\n===\n\n.. py:module:: lab\n\n"
    text = (
        "The names one starts with, each imported when it is first used. ``import deltalab as dl`` gives the same.\n\n"
    )
    rows = []
    for name in lab.__all__:
        home = f"lab.{lab._ROOM[name].partition('.')[0]}"
        there = lab._NAME_THERE.get(name, name)
        found = there in getattr(importlib.import_module(home), "__all__", ())
        rows.append(f"* ``lab.{name}``" + (f": :py:obj:`{home}.{there}`" if found else ""))
        if not found:
            rows[-1] = f"\n.. py:currentmodule:: lab\n\n.. autofunction:: lab.{name}\n"
    bullets = [row for row in rows if row.startswith("*")]
    others = [row for row in rows if not row.startswith("*")]
    return head + text + "\n".join(bullets) + "\n" + "".join(others)


def _room(module: ModuleType, entries: dict[int, str]) -> str:
    """All names of a room: classes and functions from their docstrings, values from the text below them.

    Args:
        module: the room.
        entries: of classes and functions that have an entry already, the name it has; new ones are added.
    """
    title, names = module.__name__, list(getattr(module, "__all__", ()))
    parts = [f"{title}\n{'=' * len(title)}\n\n.. automodule:: {title}\n   :no-members:\n\n"]
    for name in names:
        found = getattr(module, name)
        known = entries.setdefault(id(found), f"{title}.{name}")
        if known != f"{title}.{name}" and callable(found):
            parts.append(f"``{name}`` is `{known}`.\n\n")
        elif inspect.isclass(found) and not isinstance(found, GenericAlias):
            parts.append(f".. autoclass:: {title}.{name}\n   :members:\n\n")
        elif inspect.isroutine(found):
            parts.append(f".. autofunction:: {title}.{name}\n\n")
        else:
            said = _said(module, name).replace("\n", "\n   ")
            parts.append(f".. py:data:: {name}\n\n   {said}\n\n")
    return "".join(parts)


def _said(module: ModuleType, name: str) -> str:
    """The text below the assignment of a value, wherever in the room it is."""
    return literal(inspect.cleandoc(_texts(Path(str(module.__file__)).parent).get(name, "")))


@cache
def _texts(folder: Path) -> dict[str, str]:
    """Name -> the text below its assignment, in the files of a folder."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        for statement, following in pairwise(ast.parse(path.read_text(encoding="utf-8")).body):
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                targets = getattr(statement, "targets", [getattr(statement, "target", None)])
                found |= {target.id: str(following.value.value) for target in targets if isinstance(target, ast.Name)}
    return found
