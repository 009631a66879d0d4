"""Panels in rows, their shared axes, one legend; becomes a plotly figure when the size is known."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import pandas as pd
import plotly.graph_objects as go

from lab.figures.grammar.axis import Axis
from lab.figures.grammar.legend import colour_bars, entries, keys
from lab.figures.grammar.looks import Look, looks
from lab.figures.grammar.mark import ColourScale, Mark, Note, Rule, identity
from lab.figures.grammar.page import entry, fitted
from lab.figures.grammar.panel import Panel
from lab.figures.grammar.reach import within
from lab.figures.grammar.split import first_seen, split
from lab.figures.grammar.words import typeset
from lab.figures.style import SCREEN, SYMBOLS, Size, Theme, template, without_dollars

_LONGEST_BAR = 24.0  # [em]
_NARROW = 30.0  # width of a phone [em]
_LETTER = 0.55  # width of a digit [em]
_LEAST_FONT = 9.0  # of the numbers in a heat map's cells [px]
_DASHES = ("solid", "dash", "dot", "dashdot")


class Grid:
    """Panels of one figure.

    Args:
        theme: colours.
        wrap: most panels in a row.
        height: of the plotting area of a single row, on screen [px]; of several rows each has two thirds.
        share_x, share_y: one axis for all panels; its labels stand at the left and at the bottom only.
        labels: names of the series in their order, where `look` shall know them before they are drawn.
    """

    def __init__(
        self, theme: Theme, *, wrap: int = 3, height: float = 300, share_x: bool = False, share_y: bool = False,
        labels: Iterable[object] = (),
    ) -> None:  # fmt: skip
        self.theme, self.wrap, self.height = theme, wrap, height
        self.shared = {"x": share_x, "y": share_y}
        self.panels: list[Panel] = []
        self.marks: list[Mark] = []
        self.rules: list[Rule] = []
        self.notes: list[Note] = []
        self.axes = {"x": Axis(), "y": Axis()}
        self.ranges: dict[tuple[int, str], tuple[float, float]] = {}
        self.stacked = False
        self.scales: dict[str, ColourScale] = {}
        self.depth = ColourScale("")
        self._looks = looks(theme, first_seen(labels))
        self._counted: dict[str, list[str]] = {}

    def panel(self, title: str = "", *, new_row: bool = False, solid: bool = False) -> Panel:
        """One more panel; with `new_row` at the left of a row of its own, `solid` for a `surface`."""
        self.panels.append(Panel(self, len(self.panels), typeset(title), new_row, solid))
        return self.panels[-1]

    def row(self, title: str, n: int) -> list[Panel]:
        """A row of `n` panels under one title."""
        return [self.panel(title, new_row=i == 0) for i in range(n)]

    def by(self, table: pd.DataFrame, *columns: str) -> Iterator[tuple[Panel, pd.DataFrame]]:
        """A panel for each combination of values that the table holds, with its rows; see `split`."""
        for name, part in split(table, *columns):
            yield self.panel(name), part

    def x(self, title: str = "", **options: Any) -> Self:
        """The x axis of all panels that have none of their own; arguments as of `Axis`."""
        self.axes["x"] = Axis(title, **options)
        return self

    def y(self, title: str = "", **options: Any) -> Self:
        """The y axis of all panels that have none of their own; arguments as of `Axis`."""
        self.axes["y"] = Axis(title, **options)
        return self

    def look(self, label: str) -> Look:
        """Colour and marker of a series: a method's own in every figure; no two labels of this grid look alike."""
        if label not in self._looks:
            self._looks = looks(self.theme, [*self._looks, label])
        return self._looks[label]

    def colour(self, name: str) -> str:
        """The next colour of the palette, the same whenever the name comes again."""
        return self.theme.colour(self._count("colour", name))

    def symbol(self, name: str) -> str:
        """The next marker."""
        return SYMBOLS[self._count("symbol", name) % len(SYMBOLS)]

    def dash(self, name: str) -> str:
        """The next kind of line."""
        return _DASHES[self._count("dash", name) % len(_DASHES)]

    def depths(self, values: Iterable[float], title: str = "block [index]") -> Self:
        """The values that `depth=` colours, and the title of their bar; called before anything is drawn by depth."""
        known = sorted({float(value) for value in values if not pd.isna(value)})
        self.depth = ColourScale(title, values=known)
        return self

    def known_depth(self, value: Any) -> float | None:
        """The depth as one of the scale's values; None for one that is missing."""
        return None if value is None or pd.isna(value) or value not in self.depth.values else float(value)

    def depth_colour(self, value: Any) -> str:
        """The colour of a depth; ink for one that is missing."""
        if pd.isna(value) or value not in self.depth.values:
            return self.theme.ink
        return self.theme.depths(len(self.depth.values))[self.depth.values.index(float(value))]

    def scale(self, title: str, low: float | None, high: float | None, *, log: bool = False) -> ColourScale:
        """The colour scale of heat maps with this title."""
        return self.scales.setdefault(title, ColourScale(title, low, high, log=log))

    def figure(self, size: Size = SCREEN) -> go.Figure:
        """The drawing in a size.

        Raises:
            ValueError: no panel was made.
        """
        if not self.panels:
            raise ValueError("a grid without panels cannot be drawn; make one with grid.panel() or grid.by()")
        return within(self)._drawn(size)

    def _drawn(self, size: Size) -> go.Figure:
        bars = colour_bars(self, size)
        shown, shapes = entries(self.marks, self.rules)
        layout = fitted(self, size, bars=len(bars), legend=[str(name) for name in shown], key=keys(self.marks))
        data = [self._trace(mark, listed, bars, size) for mark, listed in shapes.marks]
        room, lying = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"], layout.pop("meta")
        for i, bar in enumerate(bars.values()):
            if size.narrow:
                bar["colorbar"]["y"] = lying["foot"] + i * lying["bar"]
            else:  # as long as can be read at a glance, however long the page is
                bar["colorbar"]["len"] = min(bar["colorbar"]["len"], _LONGEST_BAR * size.font / room)
        layout |= bars | {"template": template(self.theme, size.font), "showlegend": bool(shown)}
        layout["shapes"] = [self._shape(rule, listed) for rule, listed in shapes.rules]
        layout["annotations"] += [self._note(note, size) for note in self.notes]
        if self.stacked:
            layout |= {"barmode": "stack"}
        layout |= {"bargap": 0.3}
        drawn = {"data": [_legible(trace, layout, size) for trace in data], "layout": layout}
        return go.Figure(without_dollars(drawn), _validate=False)

    def part(self, numbers: Sequence[int]) -> Grid:
        """Some of the panels as a drawing of their own; colours, markers and scales mean what they do in the whole."""
        made, place = copy.copy(self), {number: i for i, number in enumerate(numbers)}
        made.panels = [copy.copy(self.panels[number]) for number in numbers]
        for i, panel in enumerate(made.panels):
            panel.grid, panel.number = made, i
        made.marks = [replace(mark, panel=place[mark.panel]) for mark in self.marks if mark.panel in place]
        made.rules = [replace(rule, panel=place[rule.panel]) for rule in self.rules if rule.panel in place]
        made.notes = [replace(note, panel=place[note.panel]) for note in self.notes if note.panel in place]
        used = {mark.trace.get("coloraxis") for mark in made.marks}
        made.scales = {title: scale for title, scale in self.scales.items() if title in used}
        return made

    def axis(self, panel: int, which: str) -> Axis:
        """The axis of a panel: its own or the grid's; with ends where intervals are cut there."""
        axis = self.panels[panel].axes.get(which, self.axes[which])
        return replace(axis, range=self.ranges[panel, which]) if (panel, which) in self.ranges else axis

    def _count(self, kind: str, name: str) -> int:
        names = self._counted.setdefault(kind, [])
        if name not in names:
            names.append(name)
        return names.index(name)

    def _trace(self, mark: Mark, listed: bool, bars: dict[str, Any], size: Size) -> dict[str, Any]:
        axes = ("scene",) if self.panels[mark.panel].solid else ("xaxis", "yaxis")
        trace = mark.trace | {axis: identity(axis.removesuffix("axis"), mark.panel) for axis in axes}
        if trace["type"] == "contour":  # plotly lets contours share no colour axis with other traces
            title = trace.pop("coloraxis")
            axis = bars[_bar(list(self.scales).index(title))]
            first = mark is next(m for m in self.marks if m.trace.get("coloraxis") == title)
            trace |= {"zmin": axis["cmin"], "zmax": axis["cmax"], "colorscale": axis["colorscale"]}
            trace |= {"colorbar": axis["colorbar"], "showscale": first}  # the first carries the bar of all
        elif "coloraxis" in trace:
            trace["coloraxis"] = _bar(list(self.scales).index(trace["coloraxis"]))
        else:
            trace |= {"name": entry(mark.name, size), "legendgroup": mark.name, "showlegend": listed}
        several = len(self.depth.values) > 1  # a single depth has no bar
        if several and mark.depth is not None and mark is next(m for m in self.marks if m.depth is not None):
            width = trace.get("line", {}).get("width", 6)  # the first that is drawn by depth carries the colour bar
            of = {
                "color": [self.depth.values.index(mark.depth)] * len(trace["x"]),
                "size": width,
                "coloraxis": _bar(len(self.scales)),
            }
            trace |= {"mode": "lines+markers" if mark.kind == "line" else "markers"}
            trace["marker"] = trace.get("marker", {}) | of
        return trace

    def _shape(self, rule: Rule, listed: bool) -> dict[str, Any]:
        x, y = identity("x", rule.panel), identity("y", rule.panel)
        shape = {name: value for name, value in rule.shape.items() if name != "across"}
        across = rule.shape["across"]
        shape |= {"xref": f"{x} domain" if across else x, "yref": y if across else f"{y} domain"}
        return shape | ({"name": rule.name, "legendgroup": rule.name, "showlegend": True} if listed else {})

    def _note(self, note: Note, size: Size) -> dict[str, Any]:
        place: dict[str, Any] = {f"{axis}ref": identity(axis, note.panel) for axis in ("x", "y")}
        if size.width < _NARROW * size.font:  # an interval stands below its estimate
            place |= {"text": note.annotation["text"].replace(" [", "<br>[")}
        return note.annotation | place


def _legible(trace: dict[str, Any], layout: dict[str, Any], size: Size) -> dict[str, Any]:
    """A heat map without the numbers in its cells, where these are too narrow to read them; the cursor says them."""
    if trace["type"] != "heatmap" or "texttemplate" not in trace:
        return trace
    left, right = layout[trace["xaxis"].replace("x", "xaxis")].get("domain", (0.0, 1.0))
    room = (right - left) * (size.width - layout["margin"]["l"] - layout["margin"]["r"])
    letters = max((len(text) for row in trace["text"] for text in row), default=0)
    if room / max(len(trace["x"]), 1) >= letters * _LETTER * _LEAST_FONT:
        return trace
    return {name: value for name, value in trace.items() if name not in ("text", "texttemplate", "textfont")}


def _bar(place: int) -> str:
    return "coloraxis" if place == 0 else f"coloraxis{place + 1}"
