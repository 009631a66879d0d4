"""Lines, points, bands, bars and heat maps of plotly as commands of PGFPlots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import Any

from lab.paper.plot_axis import PlotAxis
from lab.paper.plot_styles import line_style, mark_style
from lab.paper.plot_words import Colours, between, bp, channels, opacity, words


class Points:
    """The columns of the CSV: those of a trace have its number, x3, y3."""

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {}
        self._n = 0

    @property
    def cells(self) -> int:
        """How many the CSV holds, those of shorter columns that are filled up included: TeX reads them all."""
        return len(self._columns) * max(map(len, self._columns.values()), default=0)

    def add(self, **columns: Sequence[float]) -> str:
        """Adds columns of one length; returns their number."""
        self._n += 1
        self._columns |= {f"{name}{self._n}": list(values) for name, values in columns.items()}
        return str(self._n)

    def csv(self) -> str:
        """The table: shorter columns are filled with nan, which PGFPlots leaves out."""
        rows = zip_longest(*self._columns.values(), fillvalue=math.nan)
        return "\n".join([",".join(self._columns), *(",".join(f"{v:.6g}" for v in row) for row in rows)]) + "\n"


def mark_lines(
    axis: PlotAxis, traces: Sequence[Mapping[str, Any]], shapes: Sequence[Mapping[str, Any]], layout: Mapping[str, Any],
    colours: Colours, points: Points,
) -> list[str]:  # fmt: skip
    """What stands inside one axis, in the order of drawing."""
    below = [_shape(axis, shape, colours) for shape in shapes if shape.get("layer") != "above"]
    above = [_shape(axis, shape, colours) for shape in shapes if shape.get("layer") == "above"]
    drawn: list[str] = []
    bars = [trace for trace in traces if trace["type"] == "bar"]
    for trace in traces:
        if trace["type"] == "bar":
            drawn.append(_bars(axis, trace, bars, layout, colours, points))
        elif trace["type"] in ("heatmap", "contour"):
            drawn += _heat(axis, trace, layout, points)
        elif trace.get("fill") == "toself":
            drawn.append(_band(axis, trace, colours, points))
        else:
            drawn += _scatter(axis, trace, layout, colours, points)
    return [*below, *drawn, *above]


def _scatter(
    axis: PlotAxis, trace: Mapping[str, Any], layout: Mapping[str, Any], colours: Colours, points: Points
) -> list[str]:
    x, y = ([axis.place(which, value) for value in trace[which]] for which in "xy")
    columns: dict[str, Sequence[float]] = {"x": x, "y": y}
    mode, marker = trace.get("mode", "lines"), trace.get("marker") or {}
    options = [line_style(trace["line"], colours)] if "lines" in mode else ["only marks"]
    if "markers" in mode:
        options.append(mark_style(marker, colours))
        if "maxdisplayed" in marker:
            options.append(f"mark repeat={max(1, len(x) // int(marker['maxdisplayed']))}")
    else:
        options.append("mark=none")
    options += [f"opacity={trace['opacity']:g}"] if "opacity" in trace else []
    table = []
    coloured = marker.get("color")
    if isinstance(coloured, list | tuple):
        columns["c"] = [math.nan if value is None else float(value) for value in coloured]
        scale = layout[marker["coloraxis"]]
        options += ["scatter, scatter src=explicit", *_meta(scale)]
    for which in "xy":
        bars = trace.get(f"error_{which}") or {}
        if "array" in bars:
            down = bars.get("arrayminus", bars["array"])
            columns[f"{which}up"] = [math.nan if v is None else float(v) for v in bars["array"]]
            columns[f"{which}down"] = [math.nan if v is None else float(v) for v in down]
            style = f"draw={colours.name(bars['color'])}, solid, line width={bp(bars.get('thickness', 1.4))}"
            options.append(
                f"error bars/{which} dir=both, error bars/{which} explicit, error bars/error mark=none, "
                f"error bars/error bar style={{{style}}}"
            )
            table += [f"{which} error plus={which}up#, {which} error minus={which}down#"]
    n = points.add(**columns)
    table = [f"x=x{n}, y=y{n}", *(part.replace("#", n) for part in table), *([f"meta=c{n}"] if "c" in columns else [])]
    lines = [rf"\addplot[{', '.join(options)}] table[{', '.join(table)}] {{\deltapoints}};"]
    if "text" in mode:
        for at, up, text in zip(x, y, trace["text"], strict=True):
            if math.isfinite(at) and math.isfinite(up):
                lines.append(rf"\node[anchor=south, yshift=3bp] at (axis cs:{at:.6g},{up:.6g}) {{{words(text)}}};")
    return lines


def _band(axis: PlotAxis, trace: Mapping[str, Any], colours: Colours, points: Points) -> str:
    x, y = ([axis.place(which, value) for value in trace[which]] for which in "xy")
    kept = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    n = points.add(x=[a for a, _ in kept], y=[b for _, b in kept])
    fill = trace["fillcolor"]
    style = f"draw=none, fill={colours.name(fill)}, fill opacity={opacity(fill):g}, mark=none"
    return rf"\addplot[{style}] table[x=x{n}, y=y{n}] {{\deltapoints}} -- cycle;"


def _bars(
    axis: PlotAxis, trace: Mapping[str, Any], bars: Sequence[Mapping[str, Any]], layout: Mapping[str, Any],
    colours: Colours, points: Points,
) -> str:  # fmt: skip
    """Bars as outlines; those of one place stand beside each other, or on top where they are stacked."""
    flat = trace.get("orientation") == "h"
    long, across = ("x", "y") if flat else ("y", "x")
    stacked = layout.get("barmode") == "stack"
    number = next(i for i, one in enumerate(bars) if one is trace)
    width = (1 - float(layout.get("bargap", 0.2))) / (1 if stacked else len(bars))
    xs: list[float] = []
    ys: list[float] = []
    for at, value in zip(trace[across], trace[long], strict=True):
        if value is None:
            continue
        middle = axis.place(across, at) + (0 if stacked else (number - (len(bars) - 1) / 2) * width)
        start = _stacked_below(bars[:number], across, long, at) if stacked else 0.0
        start = max(start, axis.ends[long][0])
        corners = [(middle - width / 2, start), (middle - width / 2, start + value if stacked else value)]
        corners += [(middle + width / 2, corners[1][1]), (middle + width / 2, start)]
        for side, height in [*corners, (math.nan, math.nan)]:
            xs.append(height if flat else side)
            ys.append(side if flat else height)
    n = points.add(x=xs, y=ys)
    fill = colours.name(trace["marker"]["color"])
    return rf"\addplot[draw=none, fill={fill}, mark=none] table[x=x{n}, y=y{n}] {{\deltapoints}};"


def _stacked_below(bars: Sequence[Mapping[str, Any]], across: str, long: str, at: Any) -> float:
    return sum((v or 0.0) for one in bars for place, v in zip(one[across], one[long], strict=True) if place == at)


def _heat(axis: PlotAxis, trace: Mapping[str, Any], layout: Mapping[str, Any], points: Points) -> list[str]:
    scale = layout[trace["coloraxis"]] if "coloraxis" in trace else {
        "cmin": trace["zmin"], "cmax": trace["zmax"], "colorscale": trace["colorscale"]
    }  # fmt: skip
    x, y = ([axis.place(which, value) for value in trace[which]] for which in "xy")
    rows = trace["z"]
    cells = [(a, b, float(v) if v is not None else math.nan) for b, row in zip(y, rows, strict=True)
             for a, v in zip(x, row, strict=True)]  # fmt: skip
    lines: list[str] = []
    low, high = float(scale["cmin"]), float(scale["cmax"])
    stops = [(float(place), str(colour)) for place, colour in scale["colorscale"]]
    half_x, half_y = _half(x), _half(y)
    groups: dict[tuple[int, int, int], list[tuple[float, float]]] = {}
    for a, b, value in cells:
        if math.isfinite(value):
            part = min(1.0, max(0.0, (value - low) / (high - low)))
            groups.setdefault(between(stops, round(part * 24) / 24), []).append((a, b))
    for (red, green, blue), places in groups.items():  # cells of one colour are one path
        xs, ys = [], []
        for a, b in places:
            xs += [a - half_x, a + half_x, a + half_x, a - half_x, math.nan]
            ys += [b - half_y, b - half_y, b + half_y, b + half_y, math.nan]
        n = points.add(x=xs, y=ys)
        fill = f"{{rgb,255:red,{red};green,{green};blue,{blue}}}"
        lines.append(rf"\addplot[draw=none, fill={fill}, mark=none] table[x=x{n}, y=y{n}] {{\deltapoints}};")
    for b, row in zip(y, trace.get("text") or (), strict=False):
        for a, text, (_, _, value) in zip(x, row, [cell for cell in cells if cell[1] == b], strict=True):
            if text and math.isfinite(value):
                part = min(1.0, max(0.0, (value - low) / (high - low)))
                light = sum(between(stops, part)) > 380
                lines.append(
                    rf"\node[text={'black' if light else 'white'}] at (axis cs:{a:.6g},{b:.6g}) {{{words(text)}}};"
                )
    return lines


def _half(places: Sequence[float]) -> float:
    gaps = [abs(b - a) for a, b in pairwise(places)]
    return min(gaps, default=1.0) / 2


def _meta(scale: Mapping[str, Any]) -> list[str]:
    """The colours of values."""
    stops = " ".join(
        "rgb255({:g})=({},{},{})".format(1000 * float(place), *channels(colour))
        for place, colour in scale["colorscale"]
    )
    ends = f"point meta min={float(scale['cmin']):g}, point meta max={float(scale['cmax']):g}"
    return [f"colormap={{deltamap}}{{{stops}}}, {ends}"]


def _shape(axis: PlotAxis, shape: Mapping[str, Any], colours: Colours) -> str:
    """A rule or a zone across the axis."""
    corners = []
    for end in "01":
        parts = []
        for which in "xy":
            value = float(shape[f"{which}{end}"])
            if str(shape[f"{which}ref"]).endswith("domain"):
                value = axis.ends[which][int(value)]
            elif axis.log(which) and not value > 0:
                return "% a rule at no place of this axis"
            parts.append(f"{value:.6g}")
        corners.append(f"(axis cs:{','.join(parts)})")
    if shape["type"] == "line":
        return rf"\draw[{line_style(shape['line'], colours)}] {corners[0]} -- {corners[1]};"
    fill = shape["fillcolor"]
    return rf"\fill[{colours.name(fill)}, opacity={opacity(fill):g}] {corners[0]} rectangle {corners[1]};"
