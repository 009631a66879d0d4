"""One thing that is drawn, before its place on the page is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_GLYPHS = {
    "solid": "───", "dash": "– – –", "dot": "· · · ·", "dashdot": "– · –", "longdash": "—— ——",
    "circle": "●", "square": "■", "diamond": "◆", "triangle-up": "▲", "triangle-down": "▼", "star": "★",
    "circle-open": "○", "square-open": "□", "diamond-open": "◇", "triangle-up-open": "△", "triangle-down-open": "▽",
    "star-open": "☆", "circle-open-dot": "⊙", "triangle-left": "◀", "triangle-right": "▶",
    "x": "✕", "x-thin": "×", "cross": "✚", "pentagon": "⬟", "hexagon": "⬢", "line-ns": "|",
}  # fmt: skip


@dataclass
class Mark:
    """One trace of a panel.

    Attributes:
        kind: line, points, bars, heat, surface, band or text.
        panel: number of its panel, from 0.
        trace: what plotly draws, without axes and legend.
        name: its entry in the legend, safe for plotly; "" has none.
        key: what its dash or symbol means; "" where that is all in the name.
        sign: that dash or symbol.
        listed: whether the legend may show it.
        depth: its place on the colour scale of depths.
    """

    kind: str
    panel: int
    trace: dict[str, Any]
    name: str = ""
    key: str = ""
    sign: str = ""
    listed: bool = True
    depth: float | None = None


@dataclass
class Rule:
    """A line or zone across a panel, at fixed x or fixed y."""

    panel: int
    shape: dict[str, Any]
    name: str = ""


@dataclass
class Note:
    """A text in a panel, in the units of its axes."""

    panel: int
    annotation: dict[str, Any]


@dataclass
class ColourScale:
    """A colour bar: a title with its unit, the ends, and the values that drawings hold."""

    title: str
    low: float | None = None
    high: float | None = None
    values: list[float] = field(default_factory=list)
    log: bool = False


def glyph(sign: str) -> str:
    """A dash or plotly symbol as letters."""
    return _GLYPHS.get(sign, "●")


def values_of(marks: Sequence[Mark], axis: str) -> list[object]:
    """All that marks show along an axis, ends of bars included."""
    found: list[object] = []
    for mark in marks:
        along = list(mark.trace.get(axis) or ())
        found += along
        bars = mark.trace.get(f"error_{axis}")
        if bars:
            up, down = bars["array"], bars.get("arrayminus", bars["array"])
            found += [v + e for v, e in zip(along, up, strict=True) if v is not None and e is not None]
            found += [v - e for v, e in zip(along, down, strict=True) if v is not None and e is not None]
    return found


def identity(axis: str, panel: int) -> str:
    """plotly's name of a panel's axis or scene: x, x2, …"""
    return axis if panel == 0 else f"{axis}{panel + 1}"
