"""Colours that can be told apart and read, in both themes."""

from __future__ import annotations

import itertools

import pytest
from plotly.colors import hex_to_rgb

from lab.figures import CONFIG, DARK, LIGHT
from lab.figures.style import count, fade, log_ticks, plain, score_title

both = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in hex_to_rgb(colour))
    ]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@both
def test_text_and_lines_stand_out_from_the_background(theme):
    assert contrast(theme.ink, theme.background) > 7  # WCAG AAA
    assert contrast(theme.muted, theme.background) > 4.5  # WCAG AA
    assert all(contrast(colour, theme.background) > 2 for colour in theme.palette)


@both
def test_series_differ_in_colour_or_symbol(theme):
    looks = [(theme.colour(i), theme.symbol(i)) for i in range(24)]
    assert len(set(looks)) == 24


@both
def test_depth_is_ordered_in_lightness(theme):
    shades = [sum(float(c) for c in colour[4:-1].split(",")) for colour in theme.depths(6)]
    assert all(a < b for a, b in itertools.pairwise(shades))
    assert len(theme.depths(1)) == 1


def test_plotly_is_told_to_stay_local():
    assert CONFIG["showSendToCloud"] is False
    assert CONFIG["plotlyServerURL"] == ""
    assert CONFIG["displaylogo"] is False


def test_fade():
    assert fade("#0072b2", 0.5) == "rgba(0,114,178,0.5)"
    assert fade("rgb(1, 2, 3)", 0.25) == "rgba(1,2,3,0.25)"
    with pytest.raises(ValueError, match=r"colour is 'blue'; expected"):
        fade("blue", 0.5)


def test_words():
    assert [count(v) for v in (812, 1024, 22_700_000, 1.5e9)] == ["812", "1,024", "22.7 M", "1.5 G"]
    assert plain("<b>&") == "&lt;b&gt;&amp;"


def test_a_score_has_the_unit_of_its_metric():
    assert score_title(["accuracy", "accuracy", None]) == "accuracy [fraction]"
    assert score_title(["Spearman"]) == "Spearman [correlation]"
    assert score_title(["F1", "Matthews"]) == "F1, Matthews [fraction or correlation]"
    assert score_title([]) == "score [unit of the metric]"


def test_log_ticks():
    assert log_ticks(156, 1600) == [200, 500, 1000]
    assert log_ticks(10, 6400) == [10, 100, 1000]
    assert log_ticks(1, 8) == [1, 2, 5]
    assert log_ticks(1, 384) == [1, 10, 100]
