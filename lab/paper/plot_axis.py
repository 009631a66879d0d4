"""A pair of plotly's axes as one axis of PGFPlots."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.paper.plot_words import words

_ROOM = 0.04
"""Of an axis without a range of its own, beyond what is drawn."""


@dataclass(frozen=True, eq=False)
class PlotAxis:
    """A pair of axes, and what is needed to place something on it.

    Attributes:
        names: plotly's: ("x2", "y2").
        x, y: its settings.
        places: per axis, category -> place; empty where it holds numbers.
        ends: per axis, low and high end in data units.
    """

    names: tuple[str, str]
    x: Mapping[str, Any]
    y: Mapping[str, Any]
    places: Mapping[str, Mapping[str, int]]
    ends: Mapping[str, tuple[float, float]]

    def holds(self, xref: str, yref: str) -> bool:
        """Whether a shape with these references stands on it."""
        return (xref.removesuffix(" domain"), yref.removesuffix(" domain")) == self.names

    def log(self, which: str) -> bool:
        """Whether the axis is logarithmic."""
        return (self.x if which == "x" else self.y).get("type") == "log"

    def place(self, which: str, value: Any) -> float:
        """A value in data units, a category as its place; NaN where it has none on this axis."""
        if isinstance(value, str):
            known = self.places[which]
            value = known[value] if value in known else _number(value)
        number = math.nan if value is None else float(value)
        return math.nan if self.log(which) and not number > 0 else number

    def options(self) -> list[str]:
        """Mode, ends, ticks and titles."""
        made: list[str] = []
        for which, axis in (("x", self.x), ("y", self.y)):
            low, high = self.ends[which]
            made += [f"{which}mode=log"] if self.log(which) else []
            made += [f"{which}min={low:.8g}, {which}max={high:.8g}"]
            turned = axis.get("autorange") == "reversed" or _descends(axis)
            made += [f"{which} dir=reverse"] if turned else []
            made += self._ticks(which, axis)
            if title := (axis.get("title") or {}).get("text"):
                made += [f"{which}label={{{words(title)}}}, {which}label style={{align=center}}"]
        return made

    def _ticks(self, which: str, axis: Mapping[str, Any]) -> list[str]:
        values, texts = axis.get("tickvals"), axis.get("ticktext")
        if values is None and self.places[which]:
            values = texts = list(self.places[which])
        made = []
        if values is not None:
            low, high = self.ends[which]
            said = texts if texts is not None else [f"{v:g}" if isinstance(v, int | float) else v for v in values]
            kept = [(self.place(which, v), t) for v, t in zip(values, said, strict=True)]
            kept = [(at, text) for at, text in kept if low <= at <= high]
            made += [f"{which}tick={{{','.join(f'{at:.8g}' for at, _ in kept)}}}"]
            labels, side = ",".join(f"{{{words(text)}}}" for _, text in kept), "center" if which == "x" else "right"
            made += [f"{which}ticklabels={{{labels}}}, {which}ticklabel style={{align={side}}}"]
        elif axis.get("tickformat") == ".0%":
            made += [
                rf"{which}ticklabel={{\pgfmathparse{{100*\tick}}\pgfmathprintnumber[precision=0]{{\pgfmathresult}}\,\%}}"
            ]
        elif which == "x" and "nticks" in axis:
            made += ["max space between ticks=60, try min ticks=3"]
        if axis.get("tickangle"):
            made += [f"{which}ticklabel style={{rotate={-axis['tickangle']:g}, anchor=east}}"]
        if axis.get("showticklabels") is False:
            made += [f"{which}ticklabels={{}}"]
        return made


def plot_axes(layout: Mapping[str, Any], data: Sequence[Mapping[str, Any]]) -> list[PlotAxis]:
    """The axes of a drawing, with the ends of what they show."""
    found = []
    for key, x in layout.items():
        number = re.fullmatch(r"xaxis(\d*)", key)
        if number is None:
            continue
        names, y = (f"x{number[1]}", f"y{number[1]}"), layout[f"yaxis{number[1]}"]
        places = {
            which: _places(layout, data, name, axis) for which, name, axis in zip("xy", names, (x, y), strict=True)
        }
        ends = {
            which: _ends(layout, data, name, axis, places[which], layout.get("shapes", ()))
            for which, name, axis in zip("xy", names, (x, y), strict=True)
        }
        found.append(PlotAxis(names, x, y, places, ends))
    return found


def _shared(layout: Mapping[str, Any], name: str) -> set[str]:
    """The names of all axes that have the range of this one."""
    which = name[0]
    own = layout[f"{which}axis{name[1:]}"].get("matches", name)
    every = [f"{which}{key.removeprefix(f'{which}axis')}" for key in layout if key.startswith(f"{which}axis")]
    return {one for one in every if layout[f"{which}axis{one[1:]}"].get("matches", one) == own}


def _along(data: Sequence[Mapping[str, Any]], names: Iterable[str]) -> list[Any]:
    known = set(names)
    which = next(iter(known))[0]
    return [v for trace in data if trace.get(f"{which}axis", which) in known for v in trace.get(which) or ()]


def _places(
    layout: Mapping[str, Any], data: Sequence[Mapping[str, Any]], name: str, axis: Mapping[str, Any]
) -> dict[str, int]:
    """The categories of an axis in their order; none where all its values are numbers."""
    named = axis.get("categoryarray")
    if named is None:
        drawn = [value for value in _along(data, _shared(layout, name)) if isinstance(value, str)]
        if not drawn or all(math.isfinite(_number(value)) for value in drawn):
            return {}
        named = list(dict.fromkeys(drawn))
    return {str(value): i for i, value in enumerate(named)}


def _ends(
    layout: Mapping[str, Any], data: Sequence[Mapping[str, Any]], name: str, axis: Mapping[str, Any],
    places: Mapping[str, int], shapes: Sequence[Mapping[str, Any]],
) -> tuple[float, float]:  # fmt: skip
    log = axis.get("type") == "log"
    if axis.get("range") is not None:
        low, high = sorted(float(end) for end in axis["range"])
        return (10.0**low, 10.0**high) if log else (low, high)
    if places:
        return -0.6, len(places) - 0.4
    which, names = name[0], _shared(layout, name)
    values = [_number(value) for value in _along(data, names)]
    heat = False
    for trace in data:
        if trace.get(f"{which}axis", which) not in names:
            continue
        heat |= trace["type"] in ("heatmap", "contour")
        bars = trace.get(f"error_{which}") or {}
        if "array" in bars:
            down = bars.get("arrayminus", bars["array"])
            for value, up, under in zip(trace[which], bars["array"], down, strict=True):
                if value is not None and up is not None and under is not None:
                    values += [_number(value) + up, _number(value) - under]
        if trace["type"] == "bar" and (trace.get("orientation") == "h") == (which == "x"):
            values.append(0.0)
            if layout.get("barmode") == "stack":
                values.append(_highest_stack(data, trace, which))
    for shape in shapes:
        if shape[f"{which}ref"] in names:
            values += [float(shape[f"{which}0"]), float(shape[f"{which}1"])]
    if axis.get("rangemode") == "tozero":
        values.append(0.0)
    known = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if log:
        room = (high / low) ** _ROOM if high > low else 1.5
        return low / room, high * room
    room = 0.5 if heat else _ROOM * (high - low) or 0.5
    start = low if low == 0 and axis.get("rangemode") == "tozero" else low - room
    return start, high + room


def _highest_stack(data: Sequence[Mapping[str, Any]], trace: Mapping[str, Any], which: str) -> float:
    other = "y" if which == "x" else "x"
    sums: dict[Any, float] = {}
    for one in data:
        if one["type"] == "bar" and one.get(f"{which}axis", which) == trace.get(f"{which}axis", which):
            for at, value in zip(one[other], one[which], strict=True):
                sums[at] = sums.get(at, 0.0) + (value or 0.0)
    return max(sums.values(), default=0.0)


def _number(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except ValueError:
        return math.nan


def _descends(axis: Mapping[str, Any]) -> bool:
    ends = axis.get("range")
    return ends is not None and float(ends[0]) > float(ends[1])
