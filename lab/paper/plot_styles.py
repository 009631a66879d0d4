"""Lines and markers of plotly as options of TikZ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.paper.plot_words import Colours, bp, opacity

DASHES = {"dash": "dashed", "dot": "densely dotted", "dashdot": "dash dot", "longdash": "loosely dashed"}
MARKS = {
    "circle": "*", "square": "square*", "diamond": "diamond*", "triangle-up": "triangle*", "triangle-down": "triangle*",
    "circle-open-dot": "oplus", "pentagon": "pentagon*", "x": "x", "x-thin": "x", "asterisk": "asterisk",
    "line-ns": "|", "line-ew": "-",
}  # fmt: skip
"""plotly's markers that TikZ has, too; the others are the outlines of `_OUTLINES`."""

_HOLLOW = {"*": "o", "asterisk": "asterisk"}


def _star(points: int, inner: float) -> list[tuple[float, float]]:
    """A star as (angle [degrees], radius), one point upwards."""
    return [(90 + 180 * k / points, inner if k % 2 else 1.0) for k in range(2 * points)]


_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "hexagon": [(30 + 60 * k, 1.0) for k in range(6)],
    "star": _star(5, 0.4),
    "hexagram": _star(6, 0.58),
    "star-diamond": _star(4, 0.5),
    "cross": [(90 * k + side, radius) for k in range(4) for side, radius in ((-20, 1.0), (20, 1.0), (45, 0.5))],
    "bowtie": [(40, 1.2), (-40, 1.2), (140, 1.2), (220, 1.2)],
    "hourglass": [(50, 1.2), (130, 1.2), (310, 1.2), (230, 1.2)],
    "triangle-left": [(180, 1.0), (-60, 1.0), (60, 1.0)],
    "triangle-right": [(0, 1.0), (120, 1.0), (240, 1.0)],
}


def outlines() -> list[str]:
    """The TeX that declares the marks TikZ lacks, filled and hollow by their options."""
    made = []
    for name, corners in _OUTLINES.items():
        at = [rf"{{\pgfqpointpolar{{{angle:g}}}{{{radius:g}\pgfplotmarksize}}}}" for angle, radius in corners]
        path = "".join(rf"\pgfpathlineto{place}" for place in at[1:])
        made.append(rf"\pgfdeclareplotmark{{{name}}}{{\pgfpathmoveto{at[0]}{path}\pgfpathclose\pgfusepathqfillstroke}}")
    return made


def mark_style(marker: Mapping[str, Any], colours: Colours) -> str:
    """The options of a marker: its shape, size and colours."""
    symbol = str(marker.get("symbol", "circle"))
    hollow, base = symbol.endswith("-open"), symbol.removesuffix("-open")
    mark = base if base in _OUTLINES else MARKS.get(base, "*")
    if hollow:
        mark = _HOLLOW.get(mark, mark.removesuffix("*"))
    colour = marker.get("color")
    fill = colours.name(colour) if isinstance(colour, str) else ""
    edge = (marker.get("line") or {}).get("color")
    own = [f"solid, fill={'white' if hollow else fill}" if fill else "solid"]
    own += [f"draw={colours.name(edge) if edge else fill}"] if fill or edge else []
    own += [f"fill opacity={opacity(colour):g}, draw opacity={opacity(colour):g}"] if isinstance(colour, str) else []
    own += ["rotate=180"] if base == "triangle-down" else []
    return f"mark={mark}, mark size={bp(0.45 * float(marker.get('size', 6)))}, mark options={{{', '.join(own)}}}"


def line_style(line: Mapping[str, Any], colours: Colours) -> str:
    """The options of a line."""
    dash = DASHES.get(str(line.get("dash", "solid")), "solid")
    return f"draw={colours.name(line['color'])}, line width={bp(float(line.get('width', 1.5)))}, {dash}"
