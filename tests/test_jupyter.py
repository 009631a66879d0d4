"""Sliders in a notebook draw again, what they show stays without a kernel, and ``%load_ext`` sets figures up."""

from __future__ import annotations

import sys
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import pytest

from app.playgrounds import linear_quadratic, projections, quadratic, shared, spike
from lab.jupyter import live, load_ipython_extension

pytest.importorskip("ipywidgets", reason="sliders need the extra [notebooks]")
WIDGET = "application/vnd.jupyter.widget-view+json"


class Cell:
    """What Jupyter's cell would show: the bundles that were displayed, and the last form of each."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []

    def display(self, bundle: dict[str, Any], *, raw: bool, display_id: bool = False) -> Any:
        assert raw
        self.shown.append(bundle)
        return Handle(self.shown, len(self.shown) - 1)


class Handle:
    def __init__(self, shown: list[dict[str, Any]], place: int) -> None:
        self.shown, self.place = shown, place

    def update(self, bundle: dict[str, Any], *, raw: bool) -> None:
        self.shown[self.place] = bundle


@pytest.fixture
def cell(monkeypatch) -> Cell:
    import IPython.display

    found = Cell()
    monkeypatch.setattr(IPython.display, "display", found.display)
    return found


@pytest.fixture
def knobs(monkeypatch) -> dict[str, Any]:
    """The widgets that are made, by what they are called."""
    import ipywidgets

    made: dict[str, Any] = {}
    for kind in ("SelectionSlider", "ToggleButtons", "Dropdown"):
        true = getattr(ipywidgets, kind)

        def keep(true: Any = true, **options: Any) -> Any:
            made[options["description"]] = true(**options)
            return made[options["description"]]

        monkeypatch.setattr(ipywidgets, kind, keep)
    return made


def test_a_slider_draws_again_in_its_place(cell, knobs):
    live(lambda theta, way: (f"{way} {theta}", pd.DataFrame({"θ": [theta]})), theta=(1, 0, 2), way=("<b>", "down"))
    sliders, words, table = cell.shown
    assert WIDGET in sliders
    assert "theta = 1 (of 3); way = &lt;b&gt; (of 2)" in sliders["text/html"]
    assert words["text/html"] == "<p>&lt;b&gt; 1</p>"
    assert knobs["theta"].options == (0, 1, 2)
    knobs["theta"].value, knobs["way"].value = 2, "down"
    assert cell.shown[1]["text/plain"] == "down 2"
    assert "<td>2</td>" in cell.shown[2]["text/html"]
    assert cell.shown[0] is sliders
    assert table is not cell.shown[2]


def test_what_goes_wrong_behind_a_slider_is_said(cell, knobs):
    live(lambda n: f"{1 / n}", n=(1, 0))
    knobs["n"].value = 0
    assert cell.shown[1]["text/plain"] == "ZeroDivisionError: division by zero"


def test_refusals(monkeypatch):
    with pytest.raises(ValueError, match="live needs values to choose from; got none for theta"):
        live(str, theta=())
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ModuleNotFoundError, match="pip install 'deltalab\\[notebooks\\]'"):
        live(str, theta=(1,))


def test_every_playground_lives_in_a_notebook(cell, knobs, monkeypatch):
    monkeypatch.setattr(pio.renderers, "default", "plotly_mimetype")
    for room in (linear_quadratic, projections, quadratic, shared, spike):
        cell.shown.clear()
        here = room.PLAYGROUND
        here.live()
        sliders, said, drawing = cell.shown
        assert WIDGET in sliders
        assert said["text/plain"].endswith(".")
        assert drawing["application/vnd.plotly.v1+json"]["data"]
        assert len(knobs) >= len(here.knobs)
    with pytest.raises(ValueError, match=r"A spike in noise has no theta = 99; it has theta: 0\.0, "):
        spike.PLAYGROUND.live(theta=99)


def test_a_playground_begins_where_one_says(cell, knobs):
    linear_quadratic.PLAYGROUND.live(horizon=3)
    assert knobs["horizon"].value == 3
    assert knobs["horizon"].options == (3, 6, 12, 24)


def test_figures_of_a_notebook_stay_on_the_machine_and_tables_are_whole(monkeypatch):
    before = pio.renderers.default
    try:
        with pd.option_context("display.precision", 6, "display.max_columns", 0):  # as pandas has them in a shell
            load_ipython_extension(None)
            assert "..." not in repr(pd.DataFrame([range(12)], columns=[f"a long name, {i}" for i in range(12)]))
        assert set(go.Figure()._repr_mimebundle_((), ())) >= {"application/vnd.plotly.v1+json"}
        assert pio.renderers["plotly_mimetype"].config["showSendToCloud"] is False
    finally:
        pio.renderers.default = before
