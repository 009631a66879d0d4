"""How a noun shows itself: one line of plain text, a small table in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from html import escape
from typing import Any, TypeVar

Facts = Mapping[str, object]
_Noun = TypeVar("_Noun")

LONGEST = 160
"""Characters of one fact: what does not fit in a line of a notebook is cut."""

_FEW = 6
"""So many names or numbers of a tuple are written out."""

_STYLE = "text-align:left;vertical-align:top;padding:0 1em 0 0;white-space:pre-wrap;max-width:60em"


def faced(
    facts: Callable[[_Noun], Facts], title: Callable[[_Noun], str] | None = None, *, plain: bool = True
) -> Callable[[type[_Noun]], type[_Noun]]:
    """A class decorator: `repr` and the face in Jupyter are made from a few facts.

    Args:
        facts: of an instance, name -> value; missing ones (None) are left out.
        title: default: the name of the class.
        plain: also give it a `__repr__`; else it keeps its own.

    Example:
        >>> @faced(lambda point: {"x": point.x})
        ... class Point:
        ...     x = 1.5
        >>> Point()
        Point(x=1.5)
        >>> Point()._repr_html_()[:27]
        '<table><caption style="text'
    """

    def named(noun: _Noun) -> str:
        return title(noun) if title is not None else type(noun).__name__

    def text(self: _Noun) -> str:
        return f"{named(self)}({', '.join(f'{name}={value}' for name, value in shown(facts(self)).items())})"

    def html(self: _Noun) -> str:
        rows = "".join(
            f'<tr><th style="{_STYLE}">{escape(name)}</th><td style="{_STYLE}">{escape(value)}</td></tr>'
            for name, value in shown(facts(self)).items()
        )
        return f'<table><caption style="text-align:left"><b>{escape(named(self))}</b></caption>{rows}</table>'

    def decorated(kind: type[_Noun]) -> type[_Noun]:
        if plain:
            kind.__repr__ = text  # type: ignore[assignment,method-assign]
        kind._repr_html_ = html  # type: ignore[attr-defined]
        return kind

    return decorated


def outlined(kind: type[_Noun]) -> type[_Noun]:
    """A class decorator for dataclasses that hold arrays and tables: shapes and names are shown, not what is in them.

    Example:
        >>> from dataclasses import dataclass
        >>> import numpy as np
        >>> @outlined
        ... @dataclass(frozen=True)
        ... class Found:
        ...     values: np.ndarray
        ...     names: tuple[str, ...]
        >>> Found(np.zeros((3, 2)), ("a", "b"))
        Found(values=3 × 2, names=a, b)
    """

    def facts(noun: Any) -> Facts:
        return {field.name: _outline(getattr(noun, field.name)) for field in fields(noun) if field.repr}

    return faced(facts)(kind)


def _outline(value: Any) -> object:
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    if hasattr(value, "columns") and hasattr(value, "index"):
        return f"{len(value):,} rows of {', '.join(map(str, value.columns))}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return " × ".join(f"{n:,}" for n in value.shape) if len(value.shape) else float(value)
    if isinstance(value, Mapping):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, list | tuple | set | frozenset):
        few = len(value) <= _FEW and all(isinstance(one, str | int | float) for one in value)
        return ", ".join(str(written(one)) for one in value) if few and value else f"{len(value):,} of them"
    return value


def sign_alone(x: float) -> str:
    """ "just above 0" or "just below 0" for what is nearer to it than any quantity measured, such as the low end of a
    test of a sign (`lab.statistics.Relabelling.interval`); "" for every other number."""
    if not 0 < abs(x) < sys.float_info.min:
        return ""
    return "just above 0" if x > 0 else "just below 0"


def shown(facts: Facts) -> dict[str, str]:
    """Facts as they are written: numbers with four digits, counts grouped, long texts cut, None left out."""
    return {name: written(value) for name, value in facts.items() if value is not None}


def written(value: object) -> str:
    """One fact in words; the end of a test that says a sign and no more is "just above 0"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return sign_alone(value) or f"{value:.4g}"
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
