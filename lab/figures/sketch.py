"""A figure without its words: the first panel as a small SVG, for a card that leads to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import log10
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from lab.figures.style import LIGHT, Theme

_CELLS = 48
"""Most rows and columns of a heat map in a sketch; more could not be seen."""

_POINTS = 160
"""Most points of one trace; the others are left out evenly."""


def sketch(drawing: go.Figure, theme: Theme = LIGHT, width: int = 260, height: int = 120) -> str:
    """An SVG of the panel that holds most: lines, points, bars and heat maps in their colours, no text, no axes.

    Args:
        drawing: what `Figure.draw` returns.
        theme: that it was drawn in.
        width, height: of the picture [px].

    Returns:
        The text of an SVG element. It holds numbers and colours only, no name of any record.
    """
    panels: dict[str, list[Any]] = {}
    for trace in drawing.data:
        if getattr(trace, "cliponaxis", None) is False:
            continue  # an arrow at the end of an axis
        panels.setdefault(getattr(trace, "xaxis", None) or getattr(trace, "scene", None) or "x", []).append(trace)
    name, traces = max(panels.items(), key=lambda panel: sum(map(_size, panel[1])), default=("x", []))
    marks = "".join(_panel(traces, _logarithmic(drawing, name, traces), theme, width - 8, height - 8))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4 {width} {height}" width="{width}" height="{height}" '
        f'preserveAspectRatio="none">{marks}</svg>'
    )


def _size(trace: Any) -> int:
    return int(np.size(trace.z if getattr(trace, "z", None) is not None else _values(trace, "y")))


def _logarithmic(drawing: go.Figure, name: str, traces: Sequence[Any]) -> tuple[bool, bool]:
    """Whether x and y of a panel are drawn on logarithmic axes; those of a surface are not."""
    if name.startswith("scene"):
        return False, False
    second = next((trace.yaxis for trace in traces if getattr(trace, "yaxis", None)), "y")
    axes = (name.replace("x", "xaxis", 1), second.replace("y", "yaxis", 1))
    x, y = (drawing.layout[axis].type == "log" if axis in drawing.layout else False for axis in axes)
    return x, y


def _panel(traces: Sequence[Any], log: tuple[bool, bool], theme: Theme, width: float, height: float) -> Iterator[str]:
    heat = next((trace for trace in traces if getattr(trace, "z", None) is not None), None)
    if heat is not None:
        yield from _heat(np.asarray(heat.z, dtype=float), theme, width, height)
        return
    places: list[dict[Any, int]] = [{}, {}]  # of categories
    drawn = [
        (trace, *(_numbers(_values(trace, axis), log[i], places[i]) for i, axis in enumerate("xy"))) for trace in traces
    ]
    spans = [_span(np.concatenate([numbers[i] for _, *numbers in drawn])) if drawn else (0.0, 1.0) for i in range(2)]
    if any(trace.type == "bar" for trace in traces):
        spans[1] = (min(0.0, spans[1][0]), max(0.0, spans[1][1]))
    for trace, x, y in drawn:
        n = min(len(x), len(y))
        across = (x[:n] - spans[0][0]) / (spans[0][1] - spans[0][0]) * width
        down = height - (y[:n] - spans[1][0]) / (spans[1][1] - spans[1][0]) * height
        ground = height - (0.0 - spans[1][0]) / (spans[1][1] - spans[1][0]) * height
        yield from _trace(trace, across, down, min(max(ground, 0.0), height), theme)


def _trace(trace: Any, x: np.ndarray, y: np.ndarray, ground: float, theme: Theme) -> Iterator[str]:
    """The marks of one trace, in pixels."""
    kept = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    kept = kept[:: max(1, -(-len(kept) // _POINTS))]
    places = list(zip(x[kept], y[kept], strict=True))
    colour = _colour(trace, theme)
    if trace.type == "bar":
        yield from (
            f'<rect x="{a - 4:.1f}" y="{min(b, ground):.1f}" width="8" height="{abs(b - ground):.1f}" fill="{colour}"/>'
            for a, b in places
        )
        return
    mode = trace.mode or "lines"
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    if getattr(trace, "fill", None) in ("toself", "tonexty"):
        yield f'<polygon points="{path}" fill="{colour}" fill-opacity="0.15"/>'
    elif "lines" in mode and len(places) > 1:
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
    if "markers" in mode:
        yield from (f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.4" fill="{colour}"/>' for a, b in places)


def _heat(z: np.ndarray, theme: Theme, width: float, height: float) -> Iterator[str]:
    z = z[:: -(-z.shape[0] // _CELLS), :: -(-z.shape[1] // _CELLS)]
    low, high = _span(z.ravel())
    rows, columns = z.shape
    places = np.argwhere(np.isfinite(z))
    dark, bright = theme.depth  # as in the figure: what lies beyond is hardly seen on the background
    shades = dark + (bright - dark) * np.clip((z[np.isfinite(z)] - low) / (high - low), 0, 1)
    for (i, j), colour in zip(places, sample_colorscale("Viridis", shades.tolist()), strict=True):
        yield (
            f'<rect x="{j * width / columns:.1f}" y="{(rows - 1 - i) * height / rows:.1f}" '
            f'width="{width / columns + 0.4:.1f}" height="{height / rows + 0.4:.1f}" fill="{colour}"/>'
        )


def _values(trace: Any, axis: str) -> Sequence[Any]:
    """What a trace holds on an axis; positions where it names none."""
    found = getattr(trace, axis, None)
    if found is not None:
        return found
    other = getattr(trace, "y" if axis == "x" else "x", None)
    return range(0 if other is None else len(other))


def _numbers(values: Iterable[Any], log: bool, places: dict[Any, int]) -> np.ndarray:
    """Values as places on an axis: numbers, their logarithms, or the numbers of categories."""
    values = list(values)
    numbers = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").to_numpy(dtype=float)
    if len(values) and not np.isfinite(numbers).any():
        return np.array([places.setdefault(value, len(places)) for value in map(str, values)], dtype=float)
    return np.array([log10(n) if n > 0 else np.nan for n in numbers]) if log else numbers


def _span(values: np.ndarray) -> tuple[float, float]:
    found = values[np.isfinite(values)]
    if not len(found):
        return 0.0, 1.0
    low, high = float(found.min()), float(found.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _colour(trace: Any, theme: Theme) -> str:
    """The colour of a trace, where it is one colour and not one of each point."""
    for part in ("line", "marker"):
        found = getattr(getattr(trace, part, None), "color", None)
        if isinstance(found, str) and found.replace("#", "").replace("(", "").isascii():
            return found
    return theme.palette[0]
