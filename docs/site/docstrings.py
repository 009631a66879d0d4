"""Docstrings as reStructuredText: letters that would be markup stand for themselves, outside code and examples."""

from __future__ import annotations

import re
from typing import Any

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


def setup(app: Any) -> dict[str, bool]:
    """As an extension of Sphinx."""
    app.connect("autodoc-process-docstring", read, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
