"""A person's walk through the explorer in a real Chromium, at a desk and on a phone."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from app.question import questions
from lab.runs import Job, Record, Store, everything
from lab.runs.journal import entries

pytestmark = pytest.mark.slow  # a minute of processor time and more

SOON = 120_000  # ms: two cores may be shared
DESK, PHONE = 1440, 390
ROOT = Path(__file__).resolve().parents[2]
BOXES = (Path(__file__).resolve().parents[1] / "figures" / "text_boxes.js").read_text()
ASKED = [outline.name for asked in questions().values() for outline in asked]
OTHERS = ["", "claims", "open_weights", "runs", "compare", "record", "report", "new_run", "playgrounds"]


@pytest.fixture(scope="module")
def own(filled, tmp_path_factory) -> Path:
    """A store of this file's own, which its tests change."""
    return Path(shutil.copytree(filled, tmp_path_factory.mktemp("walk") / "runs"))


@pytest.fixture(scope="module")
def address(served, own, chromium) -> str:
    return served(own)


@pytest.fixture
def sound(outside):
    """No error, nothing asked of others, no sideways scrolling, no two texts of a figure on each other."""

    def sound(tab, address: str, width: int) -> None:
        assert tab.locator("[data-testid=stException]").count() == 0
        assert outside(tab, address) == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        for figure in tab.locator(".js-plotly-plot").all():
            found = figure.evaluate(BOXES)
            assert (tab.url, found["overlaps"], found["outside"]) == (tab.url, [], [])

    return sound


def test_ten_seconds_to_an_answer_and_from_it_to_its_question(tabs, address, drawn, settled, sound):
    tab = tabs(DESK)
    tab.goto(address)
    tab.get_by_role("heading", name=re.compile("How many random directions")).wait_for(timeout=SOON)
    assert drawn(tab).bounding_box()["y"] < 900  # on the first screen
    before = tab.locator("[data-testid=stMetricValue]").inner_text()
    slider = tab.get_by_role("slider").first
    slider.focus()
    for _ in range(3):
        slider.press("ArrowLeft")  # by the keyboard
    tab.wait_for_function(
        "before => document.querySelector('[data-testid=stMetricValue]').innerText !== before", arg=before, timeout=SOON
    )
    tab.get_by_label("Search the questions").fill("gramian")
    tab.get_by_label("Search the questions").press("Enter")
    tab.wait_for_url(re.compile("search=gramian"), timeout=SOON)
    settled(tab)
    tab.get_by_role("main").get_by_role("link", name=re.compile("Controllability")).first.click(timeout=SOON)
    tab.wait_for_url(re.compile("/controllability"), timeout=SOON)
    drawn(tab)
    sound(tab, address, DESK)


def test_a_click_leads_to_a_layer_then_to_a_record_and_a_figure_into_the_report(
    tabs, address, own, drawn, click, outside
):
    tab = tabs(DESK)
    tab.goto(f"{address}/weight_differences")
    figure = drawn(tab)
    last = figure.evaluate("d => d._fullData.findLastIndex(t => t.mode.includes('markers'))")
    click(tab, figure, last, 0)
    tab.wait_for_url(re.compile("block="), timeout=SOON)
    figure = drawn(tab)
    tab.get_by_role("button", name="Add to report").click(timeout=SOON)
    tab.get_by_text("is in the report now").wait_for(timeout=SOON)
    last = figure.evaluate("d => d._fullData.findLastIndex(t => t.mode.includes('markers'))")
    click(tab, drawn(tab), last, 0)
    tab.wait_for_url(re.compile("/record"), timeout=SOON)
    tab.get_by_role("heading", name="Asked").wait_for(timeout=SOON)
    assert outside(tab, address) == []


def test_a_report_is_written_in_two_tabs_and_downloaded(tabs, address, drawn, settled):
    tab, other = tabs(DESK), tabs(DESK)
    tab.goto(f"{address}/intrinsic_dimension")
    drawn(tab)
    tab.get_by_role("button", name="Add to report").click(timeout=SOON)
    tab.get_by_text("is in the report now").wait_for(timeout=SOON)
    for page in (tab, other):
        page.goto(f"{address}/report?venue=icml")
        page.get_by_label("What figure 1 shows").wait_for(timeout=SOON)
    tab.get_by_label("What figure 1 shows").fill("Seen by me.")
    tab.get_by_label("What figure 1 shows").press("Control+Enter")
    other.wait_for_function(
        "document.querySelector('textarea').value === 'Seen by me.'", timeout=SOON
    )  # the other tab keeps up
    settled(tab)
    with tab.expect_download(timeout=SOON) as waiting:
        tab.get_by_role("button", name="Download the folder").click(timeout=SOON)
    archive = zipfile.ZipFile(io.BytesIO(Path(waiting.value.path()).read_bytes()))
    assert b"Seen by me." in archive.read("paper/captions.tex")
    assert any(name.endswith(".pdf") for name in archive.namelist())


def test_a_shared_address_shows_the_same_elsewhere(tabs, address, drawn, settled):
    tab, other = tabs(DESK), tabs(DESK, apart=True)
    tab.goto(f"{address}/intrinsic_dimension")
    drawn(tab)
    tab.get_by_label("Task").first.click(timeout=SOON)
    tab.get_by_role("option", name="rotten-tomatoes").click(timeout=SOON)
    tab.wait_for_url(re.compile("task=.*rotten-tomatoes"), timeout=SOON)
    settled(tab)
    other.goto(tab.url)
    labels = [
        drawn(page).locator("xpath=ancestor::*[@aria-label][1]").get_attribute("aria-label") for page in (tab, other)
    ]
    assert labels[0] == labels[1]
    for page in (tab, other):
        assert page.get_by_role("main").get_by_text("rotten-tomatoes", exact=True).count() > 0


def test_back_leads_to_the_view_that_a_page_was_opened_from(tabs, address, drawn, settled):
    tab = tabs(DESK)
    tab.goto(f"{address}/intrinsic_dimension?task=rotten-tomatoes")
    drawn(tab)
    tab.get_by_test_id("stSidebarNav").get_by_role("link", name="Performance", exact=True).click()
    tab.wait_for_url(re.compile("/performance$"), timeout=SOON)
    drawn(tab)
    tab.go_back()
    tab.wait_for_url(re.compile("/intrinsic_dimension"), timeout=SOON)
    drawn(tab)
    assert tab.url.endswith("?task=rotten-tomatoes")
    assert tab.get_by_role("main").get_by_text("rotten-tomatoes", exact=True).count() > 0


def test_a_run_is_started_watched_cancelled_and_resumed_from_the_page(tabs, address, own, settled):
    tab = tabs(DESK)
    tab.goto(f"{address}/new_run")
    tab.get_by_role("combobox", name=re.compile("Experiment")).click(timeout=SOON)
    tab.get_by_role("option", name=re.compile("^Training run")).first.click(timeout=SOON)
    tab.get_by_text("deltalab run training_run").first.wait_for(timeout=SOON)
    tab.get_by_text("Settings", exact=True).click()
    tab.get_by_label(re.compile("^steps")).first.fill("100000")
    tab.get_by_label(re.compile("^steps")).first.press("Enter")
    tab.get_by_text("--steps=100000").first.wait_for(timeout=SOON)
    settled(tab)
    tab.get_by_role("button", name="Start").click()
    tab.goto(f"{address}/runs")  # another page, as after a reload
    tab.get_by_role("progressbar").first.wait_for(timeout=SOON)
    tab.get_by_role("button", name="Cancel").click(timeout=SOON)
    tab.get_by_role("button", name="Resume").click(timeout=SOON)
    tab.get_by_role("button", name="Cancel").click(timeout=SOON)
    tab.get_by_text("interrupted").first.wait_for(timeout=SOON)
    tab.wait_for_function("document.body.innerText.match(/interrupted/g).length >= 2", timeout=SOON)
    assert [entry.state for entry in entries(own)] == ["interrupted", "interrupted"]


def test_a_record_of_a_terminal_appears_without_a_reload(tabs, address, own, settled):
    tab, before = tabs(DESK), len(everything(own).keys())  # the gallery's are shown too
    tab.goto(f"{address}/runs")
    tab.get_by_text(f"{before} of {before} records").wait_for(timeout=SOON)
    settled(tab)
    Store(own).put(Record(Job("quadratic", {"draws": 3}), {"loss": 0.5}))
    tab.get_by_text(f"{before + 1} of {before + 1} records").wait_for(timeout=SOON)


def test_names_that_mean_harm_do_none(tabs, served, hostile, chromium, settled, outside):
    address, tab = served(hostile), tabs(DESK)
    for page in ("", "intrinsic_dimension", "record", "runs"):
        tab.goto(f"{address}/{page}")
        tab.get_by_role("heading", level=1).first.wait_for(timeout=SOON)
        settled(tab)
        assert tab.locator("a[href*='x.example'], img[src*='x.example'], script:text('alert')").count() == 0
    assert (tab.said, outside(tab, address)) == ([], [])


def test_a_phone_shows_panels_below_each_other(tabs, address, drawn, settled, sound):
    tab = tabs(PHONE, 844)
    tab.goto(f"{address}/landscape")
    assert drawn(tab).bounding_box()["width"] <= PHONE
    tab.wait_for_function(
        "new Set([...document.querySelectorAll('.js-plotly-plot .bglayer rect, .js-plotly-plot .plotbg rect')]"
        ".map(r => r.getAttribute('x'))).size <= 1", timeout=SOON,
    )  # fmt: skip
    settled(tab)
    sound(tab, address, PHONE)


def test_home_on_a_phone_is_three_screens_until_a_theme_is_opened(tabs, address, drawn, settled, sound):
    tab = tabs(PHONE, 844)
    tab.goto(address)
    drawn(tab)
    settled(tab)
    assert tab.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight") < 3 * 844
    assert tab.get_by_role("main").locator("img[src^='data:image/svg']").count() == 0
    tab.get_by_role("main").get_by_text("The control view").click(timeout=SOON)
    link = tab.get_by_role("main").get_by_role("link", name=re.compile("Controllability"))
    link.first.wait_for(timeout=SOON)
    tab.wait_for_url(re.compile("the-control-view=true"), timeout=SOON)
    settled(tab)
    sound(tab, address, PHONE)
    other = tabs(PHONE, 844)
    other.goto(tab.url)  # as after a reload
    other.get_by_role("main").get_by_role("link", name=re.compile("Controllability")).first.click(timeout=SOON)
    other.wait_for_url(re.compile("/controllability"), timeout=SOON)
    drawn(other)
    other.go_back()
    other.wait_for_url(re.compile("the-control-view=true"), timeout=SOON)
    other.get_by_role("main").get_by_role("link", name=re.compile("Controllability")).first.wait_for(timeout=SOON)
    settled(other)
    assert "the-control-view=true" in other.url  # and nothing has folded it since
    assert other.get_by_role("main").get_by_role("link", name=re.compile("Controllability")).count() > 0


def test_the_benchmark_counts_what_the_browser_takes(chromium, address, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from browser import measured

    (row,) = measured(chromium, address, ["quadratic"], DESK)
    assert row["page"] == "quadratic"
    assert row["opened_s"] > 0.1  # the explorer's own scripts alone take longer
    assert row["switched_s"] > 0.01


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("page", [*OTHERS, *ASKED])
def test_every_page_is_sound(page, width, tabs, address, drawn, settled, sound):
    tab = tabs(width)
    tab.goto(f"{address}/{page}")
    tab.get_by_role("heading", level=1).first.wait_for(timeout=SOON)
    settled(tab)
    if page in ASKED:
        drawn(tab)
        assert tab.locator("[aria-label]").count() > 0
    sound(tab, address, width)
