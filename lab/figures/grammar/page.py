"""Where panels, titles and legend stand, in a width: the arithmetic of a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.figures.grammar.axis import Axis, numbers
from lab.figures.grammar.legend import LYING
from lab.figures.grammar.mark import identity, values_of
from lab.figures.style import SCREEN, Size, fade, legend_height, legend_rows, plain, text_width

if TYPE_CHECKING:
    from lab.figures.grammar.grid import Grid
    from lab.figures.grammar.panel import Panel

_LOWEST = 13.0  # height of a panel on a page [em]: five ticks
_FLATTEST = 0.5  # of a panel's height, on a page that is full
_UPRIGHT = 1.25  # width of a name that stands upright [em]
_ROOM = (0.06, 0.12)  # what plotly leaves beside the outermost points, in a wide and in a narrow panel
_NARROWEST = 14.0  # width of a panel [em]: three ticks and a title


def fitted(grid: Grid, size: Size, *, bars: int, legend: list[str], key: list[str]) -> dict[str, Any]:
    """The plotly layout of a grid in a size, as far as it can be no taller than the page.

    Of many panels more stand in a row than the grid asks for; where that is not enough they are flatter. Names of rows
    keep their height, so a long list stays long.
    """
    told: dict[str, Any] = {"bars": bars, "legend": legend, "key": key}
    page = Page(grid, size, **told)
    layout = page.layout()
    tallest = size.tallest or inf
    for wrap in range(grid.wrap + 1, len(grid.panels) + 1):
        if layout["height"] <= tallest:
            break
        wider = Page(grid, size, **told, wrap=wrap)
        if wider.columns > page.columns and (shorter := wider.layout())["height"] < layout["height"]:
            page, layout = wider, shorter
    if (above := layout["height"] - tallest) > 0:
        plots = sum(height for _, height in page._heights[0])
        flat = max(_FLATTEST, 1 - 1.1 * above / plots)
        layout = Page(grid, size, **told, wrap=page.wrap, flat=flat).layout()
    return layout


class Page:
    """The layout of a grid in a size.

    Args:
        grid: what is drawn.
        size: the page's width and type.
        bars: colour bars at the right; below the panels where the page is narrow.
        legend: its entries.
        key: entries of the key above them.
        wrap: most panels in a row; default: the grid's.
        flat: height of panels, as a part of what they would have.
    """

    def __init__(
        self, grid: Grid, size: Size, *, bars: int, legend: list[str], key: list[str], wrap: int = 0, flat: float = 1.0
    ) -> None:  # fmt: skip
        self.grid, self.size, self.em = grid, size, float(size.font)
        self.legend, self.key = legend, key
        self.wrap, self.flat = wrap or grid.wrap, flat
        self._numbers: dict[tuple[str, int | None], np.ndarray] = {}
        self.right = self.em * (6.5 if bars and not size.narrow else 1.7)  # half of a tick "100%" stands out
        self.bars = self.em * (LYING * bars + 0.4) if bars and size.narrow else 0.0
        self.rows = self._rows()
        self.columns = max(len(row) for row in self.rows)

    def layout(self) -> dict[str, Any]:
        """The plotly layout: axes, titles of panels, legend, margins, height; `meta`: where colour bars lie."""
        tops, area = self._heights
        layout: dict[str, Any] = {}
        annotations = []
        for r, row in enumerate(self.rows):
            for c, panel in enumerate(row):
                top, height = tops[r]
                left = self._left(c) / self.width
                x = [left, min(1.0, left + self.panel_width / self.width)]
                y = [max(0.0, 1 - (top + height) / area), 1 - top / area]
                if panel.solid:
                    layout[identity("scene", panel.number)] = {"domain": {"x": x, "y": y}, **self._solid()}
                else:
                    layout |= self._axes(panel, r, c, x, y)
                    annotations += self._names_above(panel, x[0])
                if panel.title:
                    annotations.append(self._title(panel, x, y[1]))
        key = "<br>".join(self._key_lines())
        broken = sum(entry(name, self.size).count("<br>") for name in self.legend)
        rows = legend_rows(self.legend, self.width, self.em) + broken if self.legend else 0
        under = self._below(len(self.rows) - 1)
        below = under + self.bars
        room = legend_height(rows, self.size.font) + (1.4 * self.em * (key.count("<br>") + 1) if key else 0)
        top = self.em * (0.9 + self._lines(0) * 1.3)
        foot = {"x": 0, "xanchor": "left", "y": -below / area, "yanchor": "top"}
        legend: dict[str, Any] = {"orientation": "h", "maxheight": 1, **foot}
        if key and self.legend:
            legend |= {"title": {"text": key, "side": "top", "font": {"size": self.em}}}
        elif key:
            note = {"text": key, "xref": "paper", "yref": "paper", "showarrow": False, "align": "left"}
            annotations.append(note | foot)
        return layout | {
            "annotations": annotations,
            "legend": legend,
            "meta": {"foot": -(under + 0.4 * self.em) / area, "bar": -self.em * LYING / area},
            "height": round(top + area + below + room),
            "width": self.size.width if self.size.fixed else None,
            "autosize": not self.size.fixed,
            "margin": {"l": round(self.left), "r": round(self.right), "t": round(top), "b": round(below + room)},
        }

    def _rows(self) -> list[list[Panel]]:
        axes = [self.grid.axis(panel.number, "y") for panel in self.grid.panels]
        words = max((self._tick_width(name) for axis in axes for name in self._beside(axis)), default=0.0)
        alike = len({(tuple(axis.texts), axis.categories is None) for axis in axes}) == 1
        once = words if self.grid.shared["y"] or alike else 0.0  # names of all panels stand at the left alone
        room = (self.size.width - 4 * self.em) / self.em - once
        least = _NARROWEST * (0.75 if once else 1) + (words - once) / 2
        most = max(1, min(self.wrap, int(room // least)))
        if not any(panel.new_row for panel in self.grid.panels):  # rows of equal length where that can be
            n = len(self.grid.panels)
            most = -(-n // -(-n // most))
        rows: list[list[Panel]] = []
        for panel in self.grid.panels:
            if not rows or len(rows[-1]) >= most or panel.new_row:
                rows.append([])
            rows[-1].append(panel)
        return rows

    @cached_property
    def left(self) -> float:
        """Room left of the first column [px]."""
        return max(self._labels(row[0], first=True) for row in self.rows)

    @cached_property
    def width(self) -> float:
        """Of all panels and what is between them [px]."""
        return self.size.width - self.left - self.right

    @cached_property
    def gaps(self) -> list[float]:
        """Room left of every column but the first [px]."""
        return [
            max(self._labels(row[c], first=False) for row in self.rows if len(row) > c) for c in range(1, self.columns)
        ]

    @cached_property
    def panel_width(self) -> float:
        """Of each panel [px]."""
        return max(4 * self.em, (self.width - sum(self.gaps)) / self.columns)

    def _left(self, column: int) -> float:
        return column * self.panel_width + sum(self.gaps[:column])

    def _labels(self, panel: Panel, *, first: bool) -> float:
        """Room that tick labels and title of a y axis need [px]."""
        if panel.solid:
            return 1.4 * self.em
        axis = self.grid.axis(panel.number, "y")
        if not first and self._hides(panel, "y"):
            return 1.4 * self.em
        titled = first or axis.title != self._left_of(panel)
        widest = max((self._tick_width(name) for name in self._beside(axis)), default=0.3 if self._above(axis) else 3.4)
        title = 0.6 + 1.3 * self._broken(axis.title) if titled and axis.title else 0
        return self.em * (widest + 1.1 + title)

    def _broken(self, title: str) -> int:
        """About how many lines an upright title takes, before heights are known."""
        length = max(7 * self.em, min(self.grid.height, 0.8 * self.size.width / self.columns) * 0.7)
        return self._wrapped(title, length).count("<br>") + 1

    def _above(self, axis: Axis) -> bool:
        """Whether the names of an axis stand above their rows."""
        return axis.above and axis.categories is not None and self.size.narrow

    def _beside(self, axis: Axis) -> list[str]:
        """The names that stand beside the panel."""
        return [] if self._above(axis) else axis.texts

    def _names_above(self, panel: Panel, left: float) -> list[dict[str, Any]]:
        """The names of a panel's rows, each above its own."""
        axis = self.grid.axis(panel.number, "y")
        if not self._above(axis):
            return []
        place = {
            "xref": "paper",
            "x": left,
            "xanchor": "left",
            "yref": identity("y", panel.number),
            "yanchor": "bottom",
        }
        look = {"showarrow": False, "align": "left", "xshift": 2, "yshift": 0.5 * self.em}
        look |= {"bgcolor": fade(self.grid.theme.background, 0.85)}
        return [{"y": name, "text": self._wrapped(name, self.panel_width), **place, **look} for name in axis.texts]

    def _tick_width(self, name: str) -> float:
        return max(text_width(line) for line in self._tick_text(name).split("<br>"))

    def _tick_text(self, name: str) -> str:
        return self._wrapped(self._short.get(name, name), 0.3 * self.size.width)

    @cached_property
    def _short(self) -> dict[str, str]:
        """Names that are called otherwise here than on a desk."""
        if not self.size.narrow:
            return {}
        axes = [self.grid.axis(panel.number, "y") for panel in self.grid.panels]
        return {plain(name): plain(said) for axis in axes for name, said in (axis.short or {}).items()}

    def _left_of(self, panel: Panel) -> str:
        row = next(row for row in self.rows if panel in row)
        place = row.index(panel)
        return self.grid.axis(row[place - 1].number, "y").title if place else ""

    def _hides(self, panel: Panel, which: str) -> bool:
        """Whether an axis' labels stand at another panel: to the left, or below."""
        r = next(i for i, row in enumerate(self.rows) if panel in row)
        c = self.rows[r].index(panel)
        if which in panel.axes:  # an axis of its own, unless its left neighbour has the same names
            left = self.rows[r][c - 1].axes.get(which) if which == "y" and c > 0 else None
            return left is not None and left.categories is not None and left == panel.axes[which]
        if not self.grid.shared[which]:
            return False
        return c > 0 if which == "y" else r + 1 < len(self.rows) and len(self.rows[r + 1]) > c

    def _lines(self, row: int) -> int:
        return max((self._title_text(panel).count("<br>") + 1 for panel in self.rows[row] if panel.title), default=0)

    def _title_text(self, panel: Panel) -> str:
        return "<br>".join(self._wrapped(line, self.panel_width) for line in plain(panel.title).split("\n"))

    def _title(self, panel: Panel, x: list[float], top: float) -> dict[str, Any]:
        place = {"x": (x[0] + x[1]) / 2, "y": top, "xref": "paper", "yref": "paper", "yshift": 2}
        return {"text": self._title_text(panel), "xanchor": "center", "yanchor": "bottom", "showarrow": False, **place}

    @cached_property
    def _heights(self) -> tuple[list[tuple[float, float]], float]:
        """Top and height of every row from the top of the first, and the height of all [px]."""
        screen = SCREEN.width - 5.6 * SCREEN.font
        most = min(self.wrap, len(self.grid.panels))
        scale = self.panel_width / (screen / most) if self.size is not SCREEN else 1.0
        gap = 0.2 if self.size.narrow else 0.35  # between names of rows [em]
        tops, top = [], 0.0
        for r, row in enumerate(self.rows):
            height = self.grid.height * (1 if len(self.rows) == 1 else 0.68) * scale * self.size.slenderness * self.flat
            height = max(min(height, 1.1 * self.panel_width), 7 * self.em)
            if not self.size.fixed:  # on a phone, panels are narrow and keep their height
                height = max(height, min(self.grid.height, max(0.62 * self.panel_width, _LOWEST * self.em)))
            for axis in (self.grid.axis(panel.number, "y") for panel in row):
                above = self._above(axis)
                told = [self._wrapped(n, self.panel_width) if above else self._tick_text(n) for n in axis.names]
                lines = max((name.count("<br>") + 1 for name in told), default=1)
                height = max(height, len(axis.names) * (gap + 1.2 * lines + 1.8 * above) * self.em)
            tops.append((top, height))
            if r + 1 < len(self.rows):
                top += height + self._below(r) + self.em * (0.6 + 1.3 * self._lines(r + 1))
            else:
                top += height
        return tops, top

    def _below(self, row: int) -> float:
        """Room that tick labels and titles of x axes need below a row [px]."""
        most = 0.4
        for panel in self.rows[row]:
            if panel.solid:
                continue
            axis = self.grid.axis(panel.number, "x")
            ticks = 0.0 if self._hides(panel, "x") else 1.9
            lines = max((name.count("<br>") for name in axis.texts), default=0)
            if ticks and (turned := self._turned(axis)):
                ticks, lines = turned * 0.95 + 1, 0
            broken = self._wrapped(axis.title, self.panel_width).count("<br>")
            most = max(most, ticks + 1.2 * lines + (1.9 + 1.3 * broken if self._titled(panel, "x") else 0))
        return self.em * (most + 0.7)

    def _turned(self, axis: Axis) -> float:
        """Length of the names below an axis [em] where they shall stand upright, or would overlap otherwise."""
        wide = [max(text_width(part) for part in name.split("<br>")) for name in axis.texts]
        upright = (axis.options or {}).get("tickangle") == -90
        crowded = bool(wide) and (max(wide) + 0.6) * len(wide) * self.em > self.panel_width
        return max(wide, default=0.0) if upright or crowded else 0.0

    def _titled(self, panel: Panel, which: str) -> bool:
        """Whether a panel has its axis' title: at the left of a row, at the foot of a column, where it changes."""
        title = self.grid.axis(panel.number, which).title
        if not title:
            return False
        if which == "y":
            return title != self._left_of(panel)
        r = next(i for i, row in enumerate(self.rows) if panel in row)
        c = self.rows[r].index(panel)
        under = self.rows[r + 1][c] if r + 1 < len(self.rows) and len(self.rows[r + 1]) > c else None
        return under is None or self.grid.axis(under.number, "x").title != title

    def _axes(self, panel: Panel, row: int, column: int, x: list[float], y: list[float]) -> dict[str, Any]:
        made = {}
        for which, domain, other in (("x", x, "y"), ("y", y, "x")):
            axis = self.grid.axis(panel.number, which)
            shared = self.grid.shared[which] and which not in panel.axes
            length = self.panel_width if which == "x" else (y[1] - y[0]) * self._heights[1]
            shown = self._shown(which, None if shared else panel.number)
            own = axis.layout(shown, upright=which == "y", room=length / self.em)
            if which == "x" and self._turned(axis):
                own = {"tickangle": -90} | _thinned(own, int(length / (_UPRIGHT * self.em)))
            if which == "x" and "tickvals" not in own:
                most = max(3, int(length / (5 * self.em)))  # never so many that plotly turns them
                own = {"nticks": readable(own.get("range") or shown, most)} | own
            own |= {"domain": domain, "anchor": other if panel.number == 0 else f"{other}{panel.number + 1}"}
            if axis.categories is not None and which == "y":
                own |= {"tickvals": axis.texts, "ticktext": [self._tick_text(name) for name in axis.texts]}
            if self._titled(panel, which):
                own |= {"title": {"text": self._wrapped(axis.title, length)}}
            if shared and panel.number:
                own |= {"matches": which}
            if which == "y" and self._above(axis):  # room for the first name
                own |= {"range": [-0.6, len(axis.names) - 0.25]}
            if self._hides(panel, which) or (which == "y" and self._above(axis)):
                own |= {"showticklabels": False}
            made[f"{which}axis{'' if panel.number == 0 else panel.number + 1}"] = own
        return made

    def _shown(self, which: str, panel: int | None) -> np.ndarray:
        """The finite numbers that a panel shows along an axis; those of all panels, found once, for None."""
        if (which, panel) not in self._numbers:
            marks = [mark for mark in self.grid.marks if panel is None or mark.panel == panel]
            self._numbers[which, panel] = numbers(values_of(marks, which))
        return self._numbers[which, panel]

    def _solid(self) -> dict[str, Any]:
        """The axes of a surface: few ticks, the height without any, seen from above the front corner."""
        theme = self.grid.theme
        axis = {"backgroundcolor": theme.background, "gridcolor": theme.grid, "color": theme.ink, "nticks": 4}
        axis |= {"showspikes": False}
        names = {which: {**axis, "title": {"text": self.grid.axes[which].title}} for which in ("x", "y")}
        made = {f"{which}axis": own for which, own in names.items()}
        made["zaxis"] = {**axis, "title": {"text": ""}, "showticklabels": False}
        eye = {"x": 1.6, "y": -1.7, "z": 1.1}
        return made | {"aspectmode": "manual", "aspectratio": {"x": 1, "y": 1, "z": 0.7}, "camera": {"eye": eye}}

    def _key_lines(self) -> list[str]:
        """The key in lines, broken between its entries; inside one only where it is longer than a line."""
        lines: list[str] = []
        for name in self.key:
            longer = f"{lines[-1]}    {name}" if lines else name
            if lines and text_width(longer) * self.em <= self.width:
                lines[-1] = longer
            else:
                lines.append(self._wrapped(name, self.width))
        return lines

    def _wrapped(self, text: str, width: float) -> str:
        """The text in lines of at most a width [px]."""
        return wrapped(text, width / self.em)


def wrapped(text: str, width: float) -> str:
    """The text in lines of at most a width [em], broken at spaces; `text` is plotly's HTML already."""
    words, lines = text.replace(" = ", "\u00a0=\u00a0").split(" "), [""]
    for word in words:
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and text_width(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "<br>".join(lines)


def entry(name: str, size: Size) -> str:
    """A name in the legend, in lines where it is longer than one."""
    room = size.width / size.font - 9.5  # what margins and the key before it leave
    return wrapped(name, room) if text_width(name) > room else name


def readable(shown: Sequence[float] | np.ndarray, most: int) -> int:
    """At most so many ticks of an axis, or one or two more where steps of 1, 2 or 5 would leave it a single number.

    Args:
        shown: numbers on the axis.
        most: ticks that there is room for.
    """
    if not len(shown) or not (span := float(max(shown) - min(shown))) > 0:
        return most
    ends = [(float(min(shown)) - room * span, float(max(shown)) + room * span) for room in _ROOM]
    return next((n for n in range(most, most + 2) if all(_numbers_on(*end, n) > 1 for end in ends)), most + 2)


def _numbers_on(low: float, high: float, most: int) -> int:
    """How many numbers plotly writes on an axis between two ends."""
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in (1, 2, 5, 10) if nice * power >= rough * (1 - 1e-9))
    return math.floor(high / step) - math.ceil(low / step) + 1


def _thinned(axis: dict[str, Any], most: int) -> dict[str, Any]:
    """A plotly axis with no more ticks than that, evenly left out; what they say is on hover."""
    names = axis.get("tickvals") or axis.get("categoryarray") or []
    step = -(-len(names) // max(1, most))
    if step < 2:
        return axis
    return axis | {"tickvals": names[::step], "ticktext": list(axis.get("ticktext", names))[::step]}
