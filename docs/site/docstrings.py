"""Docstrings as reStructuredText: letters that would be markup stand for themselves, outside code and examples."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

OURS = ("lab.", "experiments.", "app.", "deltalab.")

_PARTS = re.compile(
    r"(?P<example>^[ ]*>>>.*?(?=\n[ ]*\n|\Z))"
    r"|(?P<block>::[ ]*\n[ ]*\n(?P<inside>[ ]+).*?(?=\n(?!(?P=inside))(?=[ ]*\S)|\Z))"
    r"|(?P<code>``.+?``|`[^`]+`)"
    r"|(?P<bullet>^[ ]*\*[ ])"
    r"|(?P<mark>[*|\\]|(?<=[^\W_])_(?=\W|$))",
    re.MULTILINE | re.DOTALL,
)


def literal(text: str) -> str:
    r"""The text with marks escaped.

    Example:
        >>> literal("‖x_‖ and `x_` for all * in |S|")
        '‖x\\_‖ and `x_` for all \\* in \\|S\\|'
    """
    return _PARTS.sub(lambda found: f"\\{found[0]}" if found.lastgroup == "mark" else found[0], text)


def read(app: Any, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Before napoleon reads the sections of a docstring."""
    lines[:] = literal("\n".join(lines)).split("\n")


def exists(app: Any, env: object, node: Any, words: Any) -> Any:
    """A name of ours that has no entry, such as the type of an argument: shown where it exists, else Sphinx warns."""
    name = str(node.get("reftarget", ""))
    return words if name.startswith(OURS) and found(name) else None


def found(dotted: str) -> bool:
    """Whether a dotted name is a module, or leads to something in one.

    Example:
        >>> found("lab.linalg.Spectrum.stable_rank"), found("lab.linalg.Spectre"), found("lab.nowhere.Spectrum")
        (True, False, False)
    """
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            known = inspect.isclass(thing) and part in getattr(thing, "__annotations__", {})
            if not hasattr(thing, part):
                return known
            thing = getattr(thing, part)
        return True
    return False


def setup(app: Any) -> dict[str, bool]:
    """As an extension of Sphinx."""
    app.connect("autodoc-process-docstring", read, priority=100)
    app.connect("missing-reference", exists)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
