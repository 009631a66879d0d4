"""Colours that can be told apart and read, in both themes."""

from __future__ import annotations

import itertools
import re

import pytest
from plotly.colors import hex_to_rgb

from lab.figures import CONFIG, DARK, HOW_TO_GET_A_BROWSER, LIGHT, SIZES, find_browser, style
from lab.figures.grammar import Grid
from lab.figures.images import images
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
    assert log_ticks(5.3, 17.5) == [6, 8, 10, 15]
    assert log_ticks(0.43, 0.46) == [0.43, 0.44, 0.45, 0.46]


LEGENDS = {
    "one row": ["LoRA", "full fine-tuning"],
    "many": [f"method {i}, {'known' if i % 2 else 'extrapolated from its start'}" for i in range(7)],
}


def with_legend(names, size, key=""):
    grid = Grid(LIGHT, height=380)
    panel = grid.panel().x("x [1]").y("y [1]")
    for name in names:
        panel.points([0, 1], [0, 1], name, key=key)
    return grid.figure(SIZES[size])


def test_a_legend_takes_the_room_that_its_rows_need():
    without = with_legend([], "double").layout.margin.b
    one, many = (with_legend(names, "double").layout.margin.b - without for names in LEGENDS.values())
    row, around = 19, 21  # px
    assert (one - around) / row == pytest.approx(1)
    assert (many - around) / row == pytest.approx(3)


@pytest.mark.skipif(find_browser() is None, reason=HOW_TO_GET_A_BROWSER)
def test_a_legend_neither_shrinks_the_plotting_area_nor_leaves_room_below():
    drawings = [with_legend(names, size, key) for names in LEGENDS.values() for size in SIZES for key in ("", "a key")]
    for drawing, svg in zip(drawings, images([(drawing, "svg") for drawing in drawings]), strict=True):
        layout, text = drawing.layout, svg.decode()
        area = re.search(r'xyplot" class="plotclip"><rect width="[\d.]+" height="([\d.]+)"', text)
        legend = re.search(r'<g class="legend"[^>]*translate\([\d.]+,\s*([\d.]+)\).*?height="([\d.]+)"', text)
        assert area is not None
        assert legend is not None
        assert float(area[1]) == pytest.approx(layout.height - layout.margin.t - layout.margin.b, abs=1)
        assert -2 < layout.height - float(legend[1]) - float(legend[2]) < 24


def test_the_colours_of_depths_are_sampled_once(monkeypatch):
    style._ramp.cache_clear()
    first = DARK.depths(5)
    monkeypatch.setattr(style, "plotly_colors", None)
    assert DARK.depths(5) == first
    assert len(set(first)) == 5
