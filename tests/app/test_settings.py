"""The explorer's settings keep it on this machine."""

from __future__ import annotations

import tomllib
from pathlib import Path

from lab.figures import DARK, LIGHT

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((ROOT / "app" / "settings.toml").read_text())


def test_listens_on_loopback_answers_no_other_name_and_reports_nothing():
    assert SETTINGS["server"]["address"] == "127.0.0.1"
    assert set(SETTINGS["server"]["allowedHosts"]) == {"localhost", "127.0.0.1", "[::1]"}
    assert SETTINGS["server"]["maxUploadSize"] <= 200
    assert SETTINGS["server"]["enableCORS"] is True
    assert SETTINGS["server"]["enableXsrfProtection"] is True
    assert SETTINGS["browser"]["gatherUsageStats"] is False
    assert SETTINGS["client"]["showErrorDetails"] == "type"
    assert SETTINGS["client"]["showErrorLinks"] is False


def test_streamlit_started_by_hand_finds_the_same_settings():
    assert (ROOT / ".streamlit" / "config.toml").resolve() == ROOT / "app" / "settings.toml"


def test_nothing_is_asked_before_the_first_page():
    assert SETTINGS["server"]["showEmailPrompt"] is False


def test_pages_and_figures_share_their_backgrounds():
    for theme in (LIGHT, DARK):
        assert SETTINGS["theme"][theme.name]["backgroundColor"] == theme.background
        assert SETTINGS["theme"][theme.name]["textColor"] == theme.ink


def test_no_folder_hijacks_the_navigation():
    assert not (ROOT / "app" / "pages").exists()
