"""Figures are drawn for the room that the browser tells; before it tells, for a phone or a desk."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from app import width
from app.width import WIDTH, WIDTHS, page_size
from lab.figures.style import SCREEN


@pytest.fixture
def session(monkeypatch):
    """What the browser says of itself, and the session."""
    known = SimpleNamespace(session_state={}, context=SimpleNamespace(headers={}))
    monkeypatch.setattr(width, "st", known)
    return known


def test_a_phone_is_drawn_for_before_it_tells(session):
    assert page_size().width == 840
    session.context.headers["User-Agent"] = "Mozilla/5.0 (Linux; Android 15) Mobile Safari"
    assert page_size().width == 350
    assert not page_size().fixed


def test_what_the_browser_tells_is_drawn(session):
    for told in WIDTHS:
        session.session_state[WIDTH] = told
        assert page_size().width == told
    assert page_size() is SCREEN


def test_a_width_that_is_none_of_ours_is_not_drawn(session, monkeypatch):
    told = {"width": 10**9}
    monkeypatch.setattr(width, "_component", lambda: lambda **given: told)
    width.watch("figure")
    assert page_size().width == 840
    told["width"] = 480
    width.watch("figure")
    assert page_size().width == 480
