"""One pair of axes, and the marks that can be drawn on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from lab.figures.grammar.axis import Axis
from lab.figures.grammar.mark import Mark, Note, Rule
from lab.figures.grammar.words import typeset
from lab.figures.style import fade, plain

if TYPE_CHECKING:
    from lab.figures.grammar.grid import Grid

_CROWDED = 24  # points of a line from which on only some have a marker
Values = Sequence[Any] | pd.Series | pd.Index | np.ndarray

_THIN = 0.34
"""Part of its row that a thin bar takes."""

OUTLINED = {"color": "#ffffff", "shadow": ", ".join(f"{x}px {y}px 1px #000" for x in (-1, 0, 1) for y in (-1, 0, 1))}
"""The font of words on a colour scale, whose light end hides white letters and its dark end black ones."""


class Panel:
    """One panel of a `Grid`; made by it.

    All marks take `name` (their entry in the legend), `colour`, `hover` (plotly's template, "%{x}: %{y:.3g}"; what is
    behind it is the name), `data` (columns for the template, ``%{customdata[0]}``), `key` (what the dash or symbol
    means), and `listed=False` where the name is for the cursor only.
    """

    def __init__(self, grid: Grid, number: int, title: str, new_row: bool, solid: bool) -> None:
        self.grid, self.number, self.title, self.new_row, self.solid = grid, number, title, new_row, solid
        self.axes: dict[str, Axis] = {}

    def line(
        self, x: Values, y: Values, name: str = "", *, colour: str = "", dash: str = "solid", width: float = 1.8,
        symbol: str = "", size: float = 6, depth: Any = None, key: str = "", hover: str = "",
        data: Sequence[Values] = (), listed: bool = True, opacity: float = 1.0, error: Values | None = None,
        error_down: Values | None = None,
    ) -> Self:  # fmt: skip
        """A line through the points in their order, with markers where a `symbol` is given.

        Args:
            x, y: of the points; a missing y leaves a gap.
            depth: number of the block or step that colours it, on the grid's scale `grid.depths`; it then has no
                entry in the legend.
            error, error_down: length of the bar upwards (and downwards, the same if missing) at each point; infinite
                where nothing bounds it. A bar that leaves the axis ends in an arrow.
        """
        colour = self.grid.depth_colour(depth) if depth is not None else colour or self.grid.colour(name)
        trace: dict[str, Any] = {
            "type": "scatter", "mode": "lines+markers" if symbol else "lines", "x": _values(x), "y": _values(y),
            "line": {"color": colour, "dash": dash, "width": width},
        }  # fmt: skip
        if symbol:
            trace["marker"] = {"color": colour, "symbol": symbol, "size": size}
            trace["marker"] |= {"maxdisplayed": 8} if len(trace["x"]) > _CROWDED else {}
        if opacity < 1:
            trace["opacity"] = opacity
        trace |= _errors("y", error, error_down, colour)
        return self._add("line", trace, name, hover, data, key, dash, listed and depth is None, depth)

    def points(
        self, x: Values, y: Values, name: str = "", *, colour: str = "", symbol: str = "circle", size: float = 8,
        alpha: float = 1.0, edge: str = "", edge_width: float = 1.0, error: Values | None = None,
        error_down: Values | None = None, across: Values | None = None, across_left: Values | None = None,
        key: str = "", hover: str = "", data: Sequence[Values] = (), text: Values | None = None, listed: bool = True,
        depth: Any = None, more: Mapping[str, Any] | None = None,
    ) -> Self:  # fmt: skip
        """Points, with bars where `error` (upwards, downwards) or `across` (to the right, to the left) is given.

        Args:
            x, y: numbers or categories.
            alpha: opacity of the markers.
            edge: colour around each marker; default none, but the marker's own where the symbol is a thin one.
            text: written above each point.
            more: further settings of the plotly trace.
        """
        colour = self.grid.depth_colour(depth) if depth is not None else colour or self.grid.colour(name)
        marker: dict[str, Any] = {"color": fade(colour, alpha) if alpha < 1 else colour, "symbol": symbol, "size": size}
        if edge or symbol.startswith(("line-", "x-thin", "cross-thin", "asterisk")):
            marker["line"] = {"color": edge or colour, "width": edge_width if edge else 2.5}
        trace: dict[str, Any] = {"type": "scatter", "mode": "markers", "x": _values(x), "y": _values(y)}
        trace |= {"marker": marker, **_errors("y", error, error_down, colour)}
        trace |= _errors("x", across, across_left, colour)
        if text is not None:
            trace |= {"mode": "markers+text", "text": [plain(word) for word in text], "textposition": "top center"}
        trace |= dict(more or {})
        return self._add("points", trace, name, hover, data, key, symbol, listed and depth is None, depth)

    def band(
        self, x: Values, low: Values, high: Values, name: str = "", *, colour: str = "", alpha: float = 0.15,
        depth: Any = None, edge: float = 0.0, listed: bool = True,
    ) -> Self:  # fmt: skip
        """The area between two lines; in the legend only where nothing else has its name."""
        colour = self.grid.depth_colour(depth) if depth is not None else colour or self.grid.colour(name)
        x, low, high = _values(x), _values(low), _values(high)
        trace = {
            "type": "scatter", "mode": "lines", "x": [*x, *x[::-1]], "y": [*high, *low[::-1]], "fill": "toself",
            "fillcolor": fade(colour, alpha), "line": {"width": edge, "color": fade(colour, min(1, 3 * alpha))},
            "hoverinfo": "skip",
        }  # fmt: skip
        return self._add("band", trace, name, "", (), "", "", listed and depth is None, None)

    def bars(
        self, x: Values, y: Values, name: str = "", *, colour: str = "", horizontal: bool = False, hover: str = "",
        data: Sequence[Values] = (), stacked: bool = False, thin: bool = False,
    ) -> Self:  # fmt: skip
        """A bar for each category, upright or horizontal, beside or (stacked) on top of those of other names.

        `thin` bars leave room for names above them (`Axis.above`).
        """
        colour = colour or self.grid.colour(name)
        self.grid.stacked |= stacked
        trace: dict[str, Any] = {"type": "bar", "x": _values(x), "y": _values(y), "marker": {"color": colour}}
        trace |= {"orientation": "h"} if horizontal else {}
        trace |= {"width": _THIN} if thin else {}
        return self._add("bars", trace, name, hover, data, "", "", True, None)

    def heat(
        self, cells: pd.DataFrame, scale: str, *, low: float | None = None, high: float | None = None,
        text: Sequence[Sequence[str]] | None = None, hover: str = "", data: Sequence[pd.DataFrame] = (),
        gap: float | None = None, log: bool = False, smooth: bool = False,
    ) -> Self:  # fmt: skip
        """A heat map; all of one grid that have the same scale share their colours and one colour bar.

        Args:
            cells: values, y by x; missing ones stay empty. Names of rows and columns are categories.
            scale: title of the colour bar, "quantity [unit]".
            low, high: ends of the colours; default: what all heat maps of the scale hold.
            text: written into the cells.
            gap: between the cells [px]; default: 1, or 0 where there are many.
            data: more values of each cell for the template, ``%{customdata[0]}``.
            log: colours by the logarithm; the bar is labelled with the values.
            smooth: as contours.
        """
        z = cells.to_numpy(float)
        if log:
            with np.errstate(divide="ignore", invalid="ignore"):
                z = np.where(z > 0, np.log10(z), np.nan)
        bar = self.grid.scale(scale, low, high, log=log)
        bar.values += z[np.isfinite(z)].tolist()
        trace: dict[str, Any] = {"type": "contour" if smooth else "heatmap", "x": _axis(cells.columns)}
        trace |= {"y": _axis(cells.index), "z": z, "coloraxis": scale, "hoverongaps": False}
        if smooth:
            trace |= {"ncontours": 16, "line": dict[str, Any](width=0.5, color=self.grid.theme.background)}
        else:
            gap = 1 if gap is None and max(cells.shape) <= 16 else gap or 0
            trace |= {"xgap": gap, "ygap": gap}
        if text is not None:
            trace |= {"text": [[plain(typeset(word)) for word in row] for row in text], "texttemplate": "%{text}"}
            trace["textfont"] = OUTLINED  # readable on every colour of the scale
        layers = [layer.to_numpy() for layer in data]
        trace |= {"customdata": np.stack(layers, axis=-1)} if layers else {}
        trace |= {"hovertemplate": hover + "<extra></extra>"} if hover else {}
        self.grid.marks.append(Mark("heat", self.number, trace))
        return self

    def surface(
        self, cells: pd.DataFrame, scale: str, *, path: tuple[Values, Values, Values] | None = None, hover: str = ""
    ) -> Self:
        """A surface whose height and colour are the logarithm of positive values, on the colours of `heat(log=True)`.

        Args:
            cells: values, y by x.
            scale: title of the colour bar, "quantity [unit]".
            path: x, y and values of points that a line joins, a little above the surface.
            hover: plotly's template; the value is ``%{customdata[0]}``.
        """
        self.heat(cells, scale, log=True, hover=hover, data=[cells])
        mark = self.grid.marks[-1]
        mark.kind = "surface"
        flat = ("type", "hoverongaps", "xgap", "ygap")
        mark.trace = {"type": "surface"} | {name: own for name, own in mark.trace.items() if name not in flat}
        if path is not None:
            x, y, z = (_values(along) for along in path)
            height = [float(np.log10(max(value, 1e-12))) + 0.02 for value in z]
            line: dict[str, Any] = {"color": self.grid.theme.palette[1], "width": 5}
            trace: dict[str, Any] = {"type": "scatter3d", "mode": "lines", "x": x, "y": y, "z": height, "line": line}
            trace |= {"hoverinfo": "skip"}
            self.grid.marks.append(Mark("line", self.number, trace, listed=False))
        return self

    def rule(
        self, *, x: float | None = None, y: float | None = None, name: str = "", colour: str = "", dash: str = "dot",
        width: float = 1, above: bool = False,
    ) -> Self:  # fmt: skip
        """A line across the panel at an x or a y, behind the marks unless `above`, whatever else is drawn."""
        line = {"color": colour or self.grid.theme.muted, "dash": dash, "width": width}
        at_x, at_y = (None if at is None else (at, at) for at in (x, y))
        layer = "above" if above else "below"
        return self._shape("line", at_x, at_y, name, line=line, layer=layer)

    def zone(
        self, *, x: tuple[float, float] | None = None, y: tuple[float, float] | None = None, name: str = "",
        colour: str = "", alpha: float = 0.15,
    ) -> Self:  # fmt: skip
        """A shaded strip across the panel between two x or two y."""
        fill = fade(colour or self.grid.theme.muted, alpha)
        return self._shape("rect", x, y, name, line={"width": 0}, fillcolor=fill)

    def note(self, x: Any, y: Any, text: str, *, colour: str = "", right: bool = True, below: bool = False) -> Self:
        """A text beside a place in the panel; it is plotly's HTML, so names in it have gone through `plain`."""
        annotation = {
            "x": x, "y": y, "text": text, "showarrow": False, "font": {"color": colour or self.grid.theme.ink},
            "xanchor": "left" if right else "right", "xshift": 8 if right else -8,
            "yanchor": "top" if below else "bottom", "yshift": -3 if below else 3,
            "bgcolor": fade(self.grid.theme.background, 0.8), "borderpad": 1,
        }  # fmt: skip
        self.grid.notes.append(Note(self.number, annotation))
        return self

    def x(self, title: str = "", **options: Any) -> Self:
        """The x axis of this panel alone; arguments as of `Axis`."""
        self.axes["x"] = Axis(title, **options)
        return self

    def y(self, title: str = "", **options: Any) -> Self:
        """The y axis of this panel alone; arguments as of `Axis`."""
        self.axes["y"] = Axis(title, **options)
        return self

    def _shape(
        self, kind: str, x: tuple[float, float] | None, y: tuple[float, float] | None, name: str, **look: Any
    ) -> Self:
        if (x is None) == (y is None):
            raise ValueError("a rule or zone stands at an x or at a y; got both or neither")
        shape: dict[str, Any] = {"type": kind, "layer": "below", **look}
        shape |= {"x0": x[0], "x1": x[1], "y0": 0, "y1": 1} if x is not None else {}
        shape |= {"y0": y[0], "y1": y[1], "x0": 0, "x1": 1} if y is not None else {}
        self.grid.rules.append(Rule(self.number, {**shape, "across": x is None}, plain(name)))
        return self

    def _add(
        self, kind: str, trace: dict[str, Any], name: str, hover: str, data: Sequence[Values], key: str, sign: str,
        listed: bool, depth: float | None,
    ) -> Self:  # fmt: skip
        shown = plain(name)
        if data:
            trace["customdata"] = np.array([_values(column) for column in data], dtype=object).T
        if hover:
            behind = f"{shown}, {plain(key)}" if key and shown else shown or plain(key)
            trace["hovertemplate"] = hover if "<extra>" in hover else f"{hover}<extra>{behind}</extra>"
        depth = self.grid.known_depth(depth)
        self.grid.marks.append(Mark(kind, self.number, trace, shown, plain(key), sign, listed, depth))
        return self


def _values(values: Values) -> list[Any]:
    """As a list; names are made safe for plotly, numbers that are missing become None."""
    return [plain(v) if isinstance(v, str) else None if v is None or v is pd.NA or v != v else v for v in list(values)]


def _axis(index: pd.Index) -> list[Any]:
    return [plain(v) if isinstance(v, str) else v for v in index.tolist()]


def _errors(axis: str, plus: Values | None, minus: Values | None, colour: str) -> Mapping[str, Any]:
    if plus is None:
        return {}
    bar: dict[str, Any] = {"type": "data", "array": _values(plus), "color": colour, "thickness": 1.4, "width": 0}
    bar |= {"symmetric": False, "arrayminus": _values(minus)} if minus is not None else {}
    return {f"error_{axis}": bar}
