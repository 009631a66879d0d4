"""A click on a figure leads somewhere: to the layer or matrix that was clicked, else to the record of the point."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import pandas as pd
import plotly.graph_objects as go

MOST_CELLS = 4096
"""Cells of a heat map up to which each can be clicked."""

LAYERS = ("block", "role")
"""Columns that a click narrows the page to, where they hold several values."""

_CLEAR = {"marker": {"opacity": 0}}

_UNSEEN = "rgba(0, 0, 0, 0)"
"""A legend draws a marker of no opacity faintly, and one of this colour not at all; the cursor takes the line's."""


def clickable(drawing: go.Figure) -> go.Figure:
    """The drawing with what plotly needs to select a point: markers, unseen where lines and heat maps have none."""
    data: list[dict[str, Any]] = []
    covers: list[dict[str, Any]] = []
    for trace in drawing.data:
        own = trace.to_plotly_json()
        if own["type"] == "scatter" and own.get("hoverinfo") != "skip":
            if own.get("mode") == "lines":
                own |= {"mode": "lines+markers", "selected": _CLEAR, "unselected": _CLEAR}
                own["marker"] = {"opacity": 0, "size": 8, "color": _UNSEEN}
            else:
                opaque = {"marker": {"opacity": own.get("marker", {}).get("opacity", 1)}}
                own |= {"selected": opaque, "unselected": opaque}
        elif own["type"] == "bar":
            own |= {"selected": {"marker": {"opacity": 1}}, "unselected": {"marker": {"opacity": 1}}}
        elif own["type"] == "heatmap" and len(own["x"]) * len(own["y"]) <= MOST_CELLS:
            covers.append(_cover(own))
        data.append(own)
    return go.Figure({"data": [*data, *covers], "layout": deepcopy(drawing.layout.to_plotly_json())}, _validate=False)


def _cover(heat: Mapping[str, Any]) -> dict[str, Any]:
    """Unseen markers on the cells of a heat map, with what the cursor says there."""
    cells = [(x, y, i, j) for i, y in enumerate(heat["y"]) for j, x in enumerate(heat["x"])]
    told = heat.get("customdata")
    data = [[heat["z"][i][j], *(told[i][j] if told is not None else ())] for _, _, i, j in cells]
    template = str(heat.get("hovertemplate") or "%{z:.4g}<extra></extra>")
    template = re.sub(r"%\{customdata\[(\d+)\]", lambda found: f"%{{customdata[{int(found[1]) + 1}]", template)
    return {
        "type": "scatter", "mode": "markers", "x": [x for x, *_ in cells], "y": [y for _, y, *_ in cells],
        "xaxis": heat.get("xaxis", "x"), "yaxis": heat.get("yaxis", "y"), "customdata": data, "showlegend": False,
        "marker": {"opacity": 0, "size": 12, "symbol": "square"}, "selected": _CLEAR, "unselected": _CLEAR,
        "hovertemplate": template.replace("%{z", "%{customdata[0]"), "name": "",
    }  # fmt: skip


def rows_at(table: pd.DataFrame, drawing: go.Figure, point: Mapping[str, Any]) -> pd.DataFrame:
    """The rows that a clicked point shows: those that agree with its name, its panel and its place, as far as any do.

    Args:
        table: what was drawn.
        drawing: of it.
        point: plotly's event: curve_number, x, y.
    """
    number = point.get("curve_number")
    if not isinstance(number, int) or not 0 <= number < len(drawing.data):
        return table.head(0)
    trace, rows = drawing.data[number], table
    places = [point.get("x"), point.get("y")]
    words = [*_words(trace.name), *_words(_title(drawing, trace))]
    words += [word for place in places if isinstance(place, str) for word in _words(place)]
    for column in table:
        values = table[column]
        if values.dtype.kind in "iuf":
            named = [value for value in values.dropna().unique() if f"{column} {value:g}" in words]
            rows = _kept(rows, values.isin(named)) if named else rows
        else:
            known = [value for value in values.dropna().unique() if isinstance(value, str) and value]
            rows = _kept(rows, values.isin({found for word in words if (found := _named(word, known))}))
    for place in places:
        if isinstance(place, (int, float)) and not isinstance(place, bool):
            rows = _kept(rows, _close(rows, float(place)))
    return rows


def _named(word: str, known: Sequence[str]) -> str:
    """The longest of the names that a word is, or begins with: "LoRA r = 8" of "LoRA r = 8: d90 = 800"."""
    fitting = [name for name in known if word == name or (word.startswith(name) and not word[len(name)].isalnum())]
    return max(fitting, key=len, default="")


def _kept(rows: pd.DataFrame, mask: pd.Series) -> pd.DataFrame:
    """The rows of the mask; all of them where it leaves none."""
    mask = mask.reindex(rows.index, fill_value=False)
    return rows[mask] if mask.any() else rows


def _close(rows: pd.DataFrame, place: float) -> pd.Series:
    """Which rows hold this number in any column."""
    numbers = rows.select_dtypes("number").astype(float)
    return (numbers.sub(place).abs() <= 1e-9 + 1e-6 * abs(place)).any(axis=1)


def _words(text: object) -> list[str]:
    """A name, its parts, and its parts of parts: what a column may hold; "block 3 query" is also "block 3"."""
    plain = html.unescape(re.sub(r"<br>", " ", str(text or "")))
    parts = [plain, *re.split(r" · |\n", plain)]
    return [part for part in dict.fromkeys(part.strip() for whole in parts for part in _inside(whole)) if part]


def _inside(text: str) -> Iterator[str]:
    yield text
    yield re.sub(r"\s*\([^()]*\)$", "", text)
    if found := re.match(r"(block [\d.]+)(?: (.*))?$", text):
        yield found[1]
        yield found[2] or ""
    if found := re.match(r"(\d+) (\w.*)$", text):
        yield f"block {found[1]}"
        yield found[2]


def _title(drawing: go.Figure, trace: Any) -> str:
    """The title above the panel of a trace."""
    layout = drawing.layout.to_plotly_json()
    axis = {which: layout.get(f"{which}axis{str(trace[f'{which}axis'] or which)[1:]}", {}) for which in "xy"}
    if not all("domain" in own for own in axis.values()):
        return ""
    (left, right), (_, top) = axis["x"]["domain"], axis["y"]["domain"]
    for note in layout.get("annotations", ()):
        here = note.get("xref") == "paper" and math.isclose(note.get("y", -1), top, abs_tol=1e-6)
        if here and left <= note.get("x", -1) <= right:
            return str(note["text"])
    return ""


def leads_to(rows: pd.DataFrame, table: pd.DataFrame, filters: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Where a click on these rows leads: the layer or matrix to narrow the page to, or the keys of their records.

    Args:
        rows: that were clicked.
        table: what is drawn.
        filters: columns that the page can be narrowed by.
    """
    if rows.empty:
        return {}, []
    narrowed = {
        name: rows[name].iloc[0]
        for name in LAYERS
        if name in filters and name in rows and rows[name].nunique(dropna=False) == 1 and table[name].nunique() > 1
    }
    return (narrowed, []) if narrowed else ({}, list(dict.fromkeys(rows["key"].dropna())) if "key" in rows else [])
