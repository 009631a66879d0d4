"""A sketch shows what the figure shows: as many marks, at the same places, and no word of any record."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import plotly.graph_objects as go
import pytest

from lab.figures import DARK, FIGURES, LEARNING_CURVES, LIGHT, SUBSPACE_SIMILARITY
from lab.figures import sketch as sketches
from lab.figures.sketch import sketch

NAMES = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("drawn", FIGURES, ids=lambda drawn: drawn.name)
def test_every_figure_has_one(drawn):
    svg = ElementTree.fromstring(sketch(drawn.draw(drawn.example())))
    assert len(svg) > 0
    assert {mark.tag.removeprefix(NAMES) for mark in svg} <= {"polyline", "polygon", "circle", "rect"}
    assert not "".join(svg.itertext()).strip()


def test_a_line_goes_where_the_values_go():
    table = LEARNING_CURVES.example()
    svg = ElementTree.fromstring(sketch(LEARNING_CURVES.draw(table), LIGHT, 208, 108))
    line = next(mark for mark in svg if mark.tag == f"{NAMES}polyline")
    places = [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]
    assert places == sorted(places)  # time runs to the right
    assert places[0][1] < places[-1][1]  # a loss that falls goes down, that is to larger y
    assert all(0 <= x <= 200 and 0 <= y <= 100 for x, y in places)


@pytest.mark.parametrize("n", [160, 161, 319, 320, 5000])
def test_no_trace_has_more_points_than_can_be_seen(n):
    drawing = go.Figure(go.Scatter(y=list(range(n)), mode="markers"))
    shown = len(re.findall("<circle", sketch(drawing)))
    assert 80 <= shown <= 160


def test_a_heat_map_has_a_cell_for_each_value():
    drawing = SUBSPACE_SIMILARITY.draw(SUBSPACE_SIMILARITY.example())
    cells = next(trace for trace in drawing.data if trace.z is not None).z
    assert len(re.findall("<rect", sketch(drawing))) == len(cells) * len(cells[0])


def test_hostile_names_are_left_out():
    evil = '<script>alert("x")</script>'
    table = LEARNING_CURVES.example().assign(label=evil)
    assert "script" not in sketch(LEARNING_CURVES.draw(table, DARK), DARK)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_a_heat_map_has_the_colours_of_its_figure(theme):
    svg = ElementTree.fromstring(sketch(go.Figure(go.Heatmap(z=[[0.0, 0.5, 1.0]])), theme))
    assert [cell.attrib["fill"] for cell in svg] == theme.depths(3)


def test_the_colours_of_a_heat_map_are_asked_for_once(monkeypatch):
    asked: list[int] = []
    real = sketches.sample_colorscale
    monkeypatch.setattr(sketches, "sample_colorscale", lambda name, at: asked.append(len(at)) or real(name, at))
    drawing = go.Figure(go.Heatmap(z=[[0.0, 1.0, None], [0.5, 0.25, 0.75]]))
    assert sketch(drawing).count("<rect") == 5
    assert asked == [5]
