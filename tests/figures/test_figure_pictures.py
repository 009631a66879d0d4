"""Every figure as a browser draws it: no text on another, at three widths of a page and two of a paper."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import plotly
import pytest

from lab.figures import DARK, FIGURES, HOW_TO_GET_A_BROWSER, LIGHT, Figure, Size, Theme, figure, find_browser
from lab.figures.style import PRINT

BOXES = (Path(__file__).parent / "text_boxes.js").read_text()
SCRIPT = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
PAGES = {f"{width} px": (Size(width=width, font=13, fixed=False), LIGHT) for width in (358, 680, 980)}
PAPER = {
    "3.25 in": (Size(width=312, font=10.6, slenderness=1.15), PRINT),
    "6.75 in": (Size(width=648, font=10.6, slenderness=1.15), PRINT),
}
PLACES = PAGES | PAPER | {"358 px, dark": (PAGES["358 px"][0], DARK)}


@pytest.fixture(scope="module")
def sheet() -> Iterator:
    """A page of a browser that holds plotly."""
    browser = find_browser()
    if browser is None:
        pytest.skip(HOW_TO_GET_A_BROWSER)
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--use-gl=swiftshader"]
        running = driver.chromium.launch(executable_path=browser, args=flags)
        page = running.new_page()
        page.set_content("<body style='margin: 0'><div id=figure></div></body>")
        page.add_script_tag(path=SCRIPT)
        yield page
        running.close()


def written(sheet, drawn: Figure, size: Size, theme: Theme) -> dict[str, list]:
    """What is written in a drawing, and what is wrong with it."""
    drawing = json.loads(drawn.draw(drawn.example(), theme, size).to_json())
    sheet.set_viewport_size({"width": size.width, "height": max(1000, drawing["layout"].get("height") or 0)})
    return sheet.evaluate(
        f"async (drawn) => {{ const d = document.getElementById('figure'); "
        f"await Plotly.newPlot(d, drawn.data, drawn.layout, {{displayModeBar: false}}); return ({BOXES})(d); }}",
        drawing,
    )


def sound(sheet, drawn: Figure, place: str) -> None:
    size, theme = PLACES[place]
    found = written(sheet, drawn, size, theme)
    assert (found["overlaps"], found["outside"]) == ([], [])


CROWDED = (
    "intrinsic_dimension",
    "performance",
    "convergence",
    "generalization_gap",
    "intruders",
    "delta_as_control",
    "costates",
    "scale",
    "gramian_spectra",
    "combination",
    "subspace_similarity",
    "loss_plane",
    "planner_ranks",
    "transfer",
)
"""Those with most words."""


@pytest.mark.parametrize("drawn", [figure(name) for name in CROWDED], ids=lambda f: f.name)
def test_no_text_lies_on_another_on_a_phone(drawn: Figure, sheet):
    sound(sheet, drawn, "358 px")


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("drawn", FIGURES, ids=lambda f: f.name)
def test_no_text_lies_on_another(drawn: Figure, place: str, sheet):
    sound(sheet, drawn, place)
