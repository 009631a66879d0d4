"""A drawing as PGFPlots, which sets it in the paper's own type, with its points as CSV."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from lab.paper.plot_axis import PlotAxis, plot_axes
from lab.paper.plot_marks import Points, mark_lines
from lab.paper.plot_page import colour_bars, legend, notes
from lab.paper.plot_styles import outlines
from lab.paper.plot_words import Colours, bp

_MOST = 30_000
"""Cells of the CSV that TeX reads and draws in about ten seconds (0.3 ms each); a figure of more stays a PDF."""

_SOLID = ("surface", "scatter3d")


@dataclass(frozen=True)
class Plot:
    """A figure's TeX, and the CSV that it reads."""

    tex: str
    csv: str


def plot(name: str, drawing: go.Figure) -> Plot | None:
    """The drawing by PGFPlots; None where it holds a surface, or more points than TeX should read.

    Args:
        name: of its files; the CSV is read from ``figures/NAME.points.csv``.
        drawing: of `lab.figures`, in the size of the page.
    """
    drawn = drawing.to_dict()
    data, layout = [_arrays(trace) for trace in drawn["data"]], drawn["layout"]
    if any(trace["type"] in _SOLID for trace in data):
        return None
    width, height, margin = layout["width"], layout["height"], layout["margin"]
    area = (width - margin["l"] - margin["r"], height - margin["t"] - margin["b"])
    colours, points = Colours(), Points()
    template = drawing.layout.template.layout
    axes = plot_axes(layout, data)
    parts = []
    for axis in axes:
        own = [trace for trace in data if (trace.get("xaxis", "x"), trace.get("yaxis", "y")) == axis.names]
        shapes = [shape for shape in layout.get("shapes", ()) if axis.holds(shape["xref"], shape["yref"])]
        inside = mark_lines(axis, own, shapes, layout, colours, points)
        parts.append(_environment(axis, area, margin, inside, colours.name(template.xaxis.gridcolor)))
    parts += notes(layout, area, margin, colours, axes)
    parts += colour_bars(layout, area, margin)
    parts += legend(data, layout, area, margin, colours)
    if points.cells > _MOST:
        return None
    size = template.font.size * 0.75
    head = [
        rf"\begingroup\fontsize{{{size:.2f}bp}}{{{1.15 * size:.2f}bp}}\selectfont",
        r"\usetikzlibrary{plotmarks}",
        *outlines(),
        rf"\pgfplotstableread[col sep=comma]{{figures/{name}.points.csv}}{{\deltapoints}}",
        *colours.definitions(),
    ]
    picture = [
        r"\begin{tikzpicture}[x=0.75bp, y=0.75bp, inner sep=0pt, line cap=round]",
        rf"\path[use as bounding box] (0,0) rectangle ({width},{height});",
        *parts,
        r"\end{tikzpicture}\endgroup%",
    ]
    needs = r"% needs \usepackage{pgfplots} and \usepackage{amssymb}; reads the CSV beside it"
    tex = "\n".join([needs, *(f"{line}%" for line in head), *picture, ""])  # % lest the ends of lines be spaces
    return Plot(tex, points.csv())


def _arrays(value: Any) -> Any:
    """The trace with its numbers as lists; plotly packs arrays as bytes."""
    if isinstance(value, Mapping) and "bdata" in value:
        flat = np.frombuffer(b64decode(value["bdata"]), np.dtype(value["dtype"]))
        shape = [int(n) for n in str(value.get("shape", len(flat))).split(",")]
        return flat.reshape(shape).tolist()
    if isinstance(value, Mapping):
        return {name: _arrays(part) for name, part in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _environment(
    axis: PlotAxis, area: tuple[float, float], margin: Mapping[str, float], inside: list[str], grid: str
) -> str:
    (x0, x1), (y0, y1) = axis.x["domain"], axis.y["domain"]
    options = [
        f"at={{({bp(margin['l'] + x0 * area[0])},{bp(margin['b'] + y0 * area[1])})}}", "anchor=south west",
        f"scale only axis, width={bp((x1 - x0) * area[0])}, height={bp((y1 - y0) * area[1])}", "axis lines=left",
        "axis line style={-, gray}, tick align=outside, tick style={gray}, minor tick num=0",
        "xminorticks=false, yminorticks=false", f"grid=major, major grid style={{{grid}, line width=0.4bp}}",
        "every tick label/.append style={inner sep=1.5bp}, every axis label/.append style={inner sep=1.5bp}",
        "clip mode=individual, unbounded coords=jump, scaled ticks=false, tick label style={/pgf/number format/fixed}",
        *axis.options(),
    ]  # fmt: skip
    return "\n".join([rf"\begin{{axis}}[{', '.join(options)}]", *inside, r"\end{axis}"])
