"""The explorer in a real browser: every page, both themes, downloads, the address, and nothing from outside."""

from __future__ import annotations

import http.client
import re
from pathlib import Path

import pytest

from lab.figures import DARK, INTRINSIC_DIMENSION, export

PAGES = {
    "controllability": "Controllability",
    "intrinsic_dimension": "Intrinsic dimension",
    "weight_differences": "Weight differences",
    "landscape": "Landscape",
    "performance": "Performance",
}
NEXT = dict(zip(PAGES, list(PAGES)[1:], strict=False))
SOON = 120_000  # ms: two cores may be shared


@pytest.fixture(scope="module")
def address(served, filled):
    """The explorer as ``deltalab app`` starts it, on a free port."""
    return served(filled)


def test_every_page_draws_its_figure_and_asks_nobody_else(tab, address, drawn, outside):
    """From page to page as a person goes: by the card of a question, then by the menu."""
    tab.goto(address)
    tab.get_by_role("main").get_by_role("link", name=re.compile("Controllability")).first.click(timeout=SOON)
    for path, title in PAGES.items():
        tab.wait_for_url(re.compile(f"/{path}$"), timeout=SOON)
        tab.get_by_role("heading", name=re.compile(title), level=1).first.wait_for(timeout=SOON)
        drawn(tab)
        assert tab.locator("[data-testid=stException]").count() == 0
        words = re.compile("held-out|matri|d90|solver|effective rank|eigenvalue|loss|mean rank", re.IGNORECASE)
        assert tab.get_by_label(words).count() > 0  # the figure says what it shows
        if following := NEXT.get(path):
            tab.get_by_test_id("stSidebarNav").get_by_role("link", name=PAGES[following], exact=True).click()
    assert outside(tab, address) == []


def _css(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgb({red}, {green}, {blue})"


def test_a_page_follows_theme_and_filters_gives_files_and_is_in_its_address(tab, address):
    tab.emulate_media(color_scheme="dark")
    tab.goto(f"{address}/intrinsic_dimension")
    tab.locator(f".main-svg[style*='{_css(DARK.background)}']").first.wait_for(timeout=SOON)
    tab.get_by_text("minilm · bbc-news").first.wait_for(timeout=SOON)
    tab.get_by_label("Task").first.click(timeout=SOON)
    tab.get_by_role("option", name="rotten-tomatoes").click(timeout=SOON)
    tab.wait_for_url(re.compile("task=.*rotten-tomatoes"), timeout=SOON)
    tab.get_by_text("rotten-tomatoes", exact=True).first.wait_for(timeout=SOON)
    tab.get_by_text("Download", exact=True).click(timeout=SOON)
    for kind, start in (("HTML", b"<!DOCTYPE html>"), ("PDF", b"%PDF"), ("CSV", b"label,model")):
        with tab.expect_download(timeout=SOON) as waiting:
            tab.get_by_role("button", name=kind, exact=True).click(timeout=SOON)
        assert waiting.value.suggested_filename == f"intrinsic_dimension.{kind.lower()}"
        assert Path(waiting.value.path()).read_bytes().startswith(start)
    tab.goto(f"{address}/intrinsic_dimension?task=rotten-tomatoes")
    tab.get_by_text("minilm · rotten-tomatoes").first.wait_for(timeout=SOON)
    assert tab.get_by_text("minilm · bbc-news").count() == 0


@pytest.mark.parametrize("width", [1440, 390])
def test_ten_seconds_lead_from_home_to_a_question_its_figure_and_the_record(
    width, tabs, address, drawn, click, outside
):
    tab = tabs(width)
    tab.goto(f"{address}/?search=intrinsic")  # few cards, so that this is quick
    drawn(tab)
    tab.get_by_role("main").get_by_role("link", name=re.compile("Intrinsic dimension")).first.click(timeout=SOON)
    tab.get_by_role("heading", name="Intrinsic dimension", level=1, exact=True).wait_for(timeout=SOON)
    figure = drawn(tab)
    runs = figure.evaluate("d => d._fullData.findLastIndex(t => t.mode === 'markers' && t.x.length > 1)")
    click(tab, figure, runs, 0)
    tab.wait_for_url(re.compile("/record"), timeout=SOON)
    tab.get_by_role("heading", name="Asked").wait_for(timeout=SOON)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.locator("[data-testid=stException]").count() == 0
    assert outside(tab, address) == []


def test_an_exported_page_draws_offline(tabs, tmp_path):
    complaints, tab = [], tabs(apart=True)
    tab.context.set_offline(True)
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    export(INTRINSIC_DIMENSION, tmp_path / "figure", ["html"], INTRINSIC_DIMENSION.example())
    tab.goto((tmp_path / "figure.html").as_uri())
    tab.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=SOON)
    assert complaints == []
    assert [url for url in tab.asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_other_names_for_this_machine_are_refused(address):
    """A page of another site that resolves to 127.0.0.1 (DNS rebinding) gets no session."""
    host, port = address.removeprefix("http://").split(":")
    upgrade = {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    answers = {}
    for name, origin in ((f"{host}:{port}", address), ("evil.example", "http://evil.example")):
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("GET", "/_stcore/stream", headers={**upgrade, "Host": name, "Origin": origin})
        answers[name] = connection.getresponse().status
        connection.close()
    assert list(answers.values()) == [101, 403]
