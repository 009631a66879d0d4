"""Intervals and their axes: what flattens estimates is cut, with an arrow; everything else stays as it is."""

from __future__ import annotations

from math import inf

import pytest

from lab.figures import LIGHT
from lab.figures.grammar import Grid
from lab.figures.grammar.reach import GOES_ON


def bars(halves: list[float], *, values: tuple[float, ...] = (0.2, 0.4), **axis) -> Grid:
    grid = Grid(LIGHT)
    grid.panel().line(range(len(values)), values, "a", error=halves)
    return grid.y("score [1]", **axis)


def test_the_axis_follows_the_estimates_and_a_long_interval_ends_in_arrows():
    found = bars([6.0, 0.05]).figure()
    low, high = found.layout.yaxis.range
    assert (-0.1 < low < 0.2, 0.4 < high < 0.7) == (True, True)
    line, down, up = found.data
    assert (line.error_y.array[0], line.error_y.arrayminus[0]) == pytest.approx((high - 0.2, 0.2 - low))
    assert (line.error_y.array[1], line.error_y.arrayminus[1]) == pytest.approx((0.05, 0.05))
    assert [(arrow.marker.symbol, arrow.x[0], arrow.y[0]) for arrow in (down, up)] == [
        ("triangle-down", 0, low), ("triangle-up", 0, high),
    ]  # fmt: skip
    assert "6.2" in up.hovertext[0]
    assert GOES_ON in str(found.layout)


def test_intervals_that_flatten_nothing_are_whole():
    found = bars([0.2, 0.1]).figure()
    assert (len(found.data), found.layout.yaxis.range) == (1, None)
    assert GOES_ON not in str(found.layout)


def test_one_estimate_is_flattened_by_nothing():
    assert len(bars([6.0], values=(0.2,)).figure().data) == 1


@pytest.mark.parametrize("half", [0.3, inf])
def test_a_range_that_is_given_stays_and_what_leaves_it_is_cut(half: float):
    found = bars([half, 0.05], range=(0.0, 1.0)).figure()
    assert found.layout.yaxis.range == (0.0, 1.0)
    assert [arrow.marker.symbol for arrow in found.data[1:]] == ["triangle-down"] + ["triangle-up"] * (half == inf)


def test_arrows_point_outwards_on_an_axis_that_runs_downwards():
    found = bars([0.3, 0.05], range=(1.0, 0.0)).figure()
    assert [(arrow.marker.symbol, arrow.y[0]) for arrow in found.data[1:]] == [("triangle-up", 0.0)]


def test_what_nothing_bounds_is_an_arrow_beside_what_is_bounded():
    found = bars([inf, 0.1]).figure()
    low, high = found.layout.yaxis.range
    assert (low < 0.2, high > 0.5) == (True, True)
    assert ["nothing bounds it"] in [list(arrow.hovertext) for arrow in found.data[1:]]


def test_an_interval_below_zero_leaves_a_logarithmic_axis_downwards():
    found = bars([0.05, 30.0], values=(0.1, 10.0), log=True).figure()
    assert [(arrow.marker.symbol, arrow.x[0]) for arrow in found.data[1:]] == [("triangle-down", 1)]
    assert 10 ** found.layout.yaxis.range[1] > 40


def test_panels_that_share_an_axis_are_cut_alike():
    grid = Grid(LIGHT, share_y=True)
    grid.panel().line([0, 1], [0.2, 0.4], "a", error=[6.0, 0.1])
    grid.panel().line([0, 1], [0.1, 0.5], "a", error=[0.1, 0.1])
    found = grid.y("score [1]").figure()
    assert found.layout.yaxis.range == found.layout.yaxis2.range
