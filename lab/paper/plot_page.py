"""What stands around the axes of a plot: titles of panels, notes, colour bars, the legend."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lab.figures.style import text_width
from lab.paper.plot_axis import PlotAxis
from lab.paper.plot_styles import line_style, mark_style
from lab.paper.plot_words import Colours, between, bp, opacity, words

_SIDES = {"left": "west", "right": "east", "center": "", "top": "north", "bottom": "south", "middle": ""}
_STEPS = 40
_EM = 11.0  # about the type of a figure [px]


def notes(
    layout: Mapping[str, Any], area: tuple[float, float], margin: Mapping[str, float], colours: Colours,
    axes: Sequence[PlotAxis],
) -> list[str]:  # fmt: skip
    """Titles of panels, and texts beside places in a panel."""
    made = []
    for note in layout.get("annotations", ()):
        x, y = margin["l"] + note["x"] * area[0], margin["b"] + note["y"] * area[1]
        if note.get("xref") != "paper":
            axis = next(one for one in axes if one.names == (note.get("xref", "x"), note.get("yref", "y")))
            x, y = (_along(axis, which, note[which], area, margin) for which in "xy")
        side = f"{_SIDES[note.get('yanchor', 'middle')]} {_SIDES[note.get('xanchor', 'center')]}".strip() or "center"
        x, y = x + note.get("xshift", 0), y + note.get("yshift", 0)
        colour = (note.get("font") or {}).get("color")
        style = f"anchor={side}, align=center" + (f", text={colours.name(colour)}" if colour else "")
        made.append(rf"\node[{style}] at ({x:.1f},{y:.1f}) {{{words(note['text'])}}};")
    return made


def _along(axis: PlotAxis, which: str, value: Any, area: tuple[float, float], margin: Mapping[str, float]) -> float:
    """Where on the page [px] a note stands; plotly has those of a logarithmic axis as exponents."""
    own, low_margin, length = (axis.x, margin["l"], area[0]) if which == "x" else (axis.y, margin["b"], area[1])
    low, high = (float(end) for end in own["range"]) if own.get("range") else axis.ends[which]
    place = float(axis.places[which].get(str(value), value)) if axis.places[which] else float(value)
    part = (place - low) / (high - low)
    start, end = own["domain"]
    return low_margin + (start + part * (end - start)) * length


def colour_bars(layout: Mapping[str, Any], area: tuple[float, float], margin: Mapping[str, float]) -> list[str]:
    """The colour bars at the right."""
    made = []
    for key, axis in layout.items():
        if not re.fullmatch(r"coloraxis\d*", key):
            continue
        bar = axis["colorbar"]
        em = float(bar["title"]["font"]["size"])
        lines = bar["title"]["text"].count("<br>") + 1
        x = margin["l"] + bar["x"] * area[0]
        top = margin["b"] + bar["y"] * area[1]
        height = bar["len"] * area[1] - (1.3 * lines + 0.4) * em
        base = top - bar["len"] * area[1]
        stops = [(float(place), str(colour)) for place, colour in axis["colorscale"]]
        made.append(rf"\node[anchor=north west, align=left] at ({x:.1f},{top:.1f}) {{{words(bar['title']['text'])}}};")
        for i in range(_STEPS):
            red, green, blue = between(stops, (i + 0.5) / _STEPS)
            low, high = base + i * height / _STEPS, base + (i + 1.02) * height / _STEPS
            fill = f"{{rgb,255:red,{red};green,{green};blue,{blue}}}"
            made.append(rf"\fill[fill={fill}] ({x:.1f},{low:.2f}) rectangle ({x + em:.1f},{high:.2f});")
        low, high = float(axis["cmin"]), float(axis["cmax"])
        values = bar.get("tickvals") or [low, (low + high) / 2, high]
        for value, text in zip(values, bar.get("ticktext") or [f"{v:.3g}" for v in values], strict=True):
            y = base + height * (float(value) - low) / (high - low)
            made.append(rf"\node[anchor=west] at ({x + 1.3 * em:.1f},{y:.1f}) {{{words(text)}}};")
    return made


def legend(
    data: Sequence[Mapping[str, Any]], layout: Mapping[str, Any], area: tuple[float, float],
    margin: Mapping[str, float], colours: Colours,
) -> list[str]:  # fmt: skip
    """The legend below, its entries broken into lines as words are."""
    entries = [(str(trace["name"]), _sign(trace, colours)) for trace in data if trace.get("showlegend")]
    entries += [(str(s["name"]), _rule(s, colours)) for s in layout.get("shapes", ()) if s.get("showlegend")]
    box = layout.get("legend") or {}
    title = (box.get("title") or {}).get("text")
    if not entries:
        return []
    said = []
    for name, sign in entries:
        entry = rf"\tikz[baseline=-0.6ex, x=0.75bp, y=0.75bp]{{{sign}}}~{words(name)}"
        said.append(rf"\mbox{{{entry}}}" if text_width(name) * _EM < 0.8 * area[0] else entry)
    y = margin["b"] + float(box.get("y", 0)) * area[1]
    width = bp(area[0] + margin["r"] + 0.5 * margin["l"])
    text = (rf"{words(title)}\\[0.3ex]" if title else "") + r"\hspace{1em plus 0.5em} ".join(said)
    at = f"({0.5 * margin['l']:.1f},{y:.1f})"
    return [rf"\node[anchor=north west, align=flush left, text width={width}] at {at} {{{text}}};"]


def _sign(trace: Mapping[str, Any], colours: Colours) -> str:
    if trace["type"] == "bar":
        return rf"\fill[{colours.name(trace['marker']['color'])}] (0,-4) rectangle (12,4);"
    if trace.get("fill") == "toself":
        fill = trace["fillcolor"]
        return rf"\fill[{colours.name(fill)}, opacity={opacity(fill):g}] (0,-4) rectangle (20,4);"
    drawn = ""
    if "lines" in trace["mode"]:
        drawn += rf"\draw[{line_style(trace['line'], colours)}] (0,0) -- (20,0);"
    marker = trace.get("marker") or {}
    if "markers" in trace["mode"] and isinstance(marker.get("color"), str):
        drawn += rf"\draw plot[only marks, {mark_style(marker, colours)}] coordinates {{(10,0)}};"
    return drawn


def _rule(shape: Mapping[str, Any], colours: Colours) -> str:
    if shape["type"] == "line":
        return rf"\draw[{line_style(shape['line'], colours)}] (0,0) -- (20,0);"
    fill = shape["fillcolor"]
    return rf"\fill[{colours.name(fill)}, opacity={opacity(fill):g}] (0,-4) rectangle (20,4);"
