"""Figures are drawn for the room that the browser tells; before it tells, for a phone or a desk."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from app import width
from app.width import WIDTH, WIDTHS, page_size
from lab.figures.style import CONFIG, SCREEN


@pytest.fixture
def session(monkeypatch):
    """What the browser says of itself, and the session."""
    known = SimpleNamespace(session_state={}, context=SimpleNamespace(headers={}))
    monkeypatch.setattr(width, "st", known)
    return known


def test_a_phone_is_drawn_for_before_it_tells(session):
    assert page_size("figure").width == 720
    session.context.headers["User-Agent"] = "Mozilla/5.0 (Linux; Android 15) Mobile Safari"
    assert page_size("figure").width == 350
    assert not page_size("figure").fixed


def test_a_phone_has_no_buttons_over_a_drawing(session):
    assert width.settings() == CONFIG
    session.context.headers["User-Agent"] = "Mozilla/5.0 (Linux; Android 15) Mobile Safari"
    assert width.settings() == {**CONFIG, "displayModeBar": False}


def test_what_the_browser_tells_is_drawn(session):
    for told in WIDTHS:
        session.session_state[WIDTH] = {"figure": told, "other": 350}
        assert page_size("figure").width == told
    assert page_size("figure") is SCREEN


def test_a_width_that_is_none_of_ours_is_not_drawn(session, monkeypatch):
    told = {"width": 10**9}
    monkeypatch.setattr(width, "_component", lambda: lambda **given: told)
    width.watch("figure")
    assert page_size("figure").width == 720
    told["width"] = 480
    width.watch("figure")
    assert page_size("figure").width == 480


def test_two_places_of_a_page_keep_their_own_widths(session, monkeypatch):
    """Else the two would tell each other's to the server for ever."""
    told = {"one": 480, "other": 720}
    monkeypatch.setattr(width, "_component", lambda: lambda key, **given: {"width": told[key.removeprefix("width-")]})
    for place in ("one", "other", "one", "other"):
        width.watch(place)
    assert {place: page_size(place).width for place in (*told, "third")} == told | {"third": 720}


def test_a_narrow_window_is_a_phone_once_it_is_told_whatever_a_figure_told(session, monkeypatch):
    told = {"wall": None}
    monkeypatch.setattr(width, "_component", lambda: lambda **given: {"width": told["wall"]})
    session.session_state[WIDTH] = {"": 480, "figure": 480}
    assert not width.narrow("wall")
    told["wall"] = 350
    assert width.narrow("wall")
    told["wall"] = 840
    assert not width.narrow("wall")
