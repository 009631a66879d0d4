"""What fits: colours from end to end, names of two lines, few names of stages."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.figures import LIGHT, SIZES
from lab.figures.grammar import Grid
from lab.figures.grammar.page import readable
from lab.figures.stages import chain, short, written
from lab.figures.style import Size


def heat(n: int, top: float, word: str) -> Grid:
    grid = Grid(LIGHT)
    cells = pd.DataFrame([[top * i / (n - 1) for i in range(n)]], index=["row"], columns=[f"c{i}" for i in range(n)])
    grid.panel().heat(cells, "value [1]", low=0, text=[[word] * n])
    return grid


@pytest.mark.parametrize("top", [13 + 2 / 3, 0.1, 1e-7, 3e5])
def test_the_colours_end_at_one_whatever_the_numbers(top: float):
    """plotly takes its own colours for a scale that ends at 1.0000000000000002."""
    scale = heat(5, top, "1").figure().layout.coloraxis.colorscale
    assert (scale[0][0], scale[-1][0]) == (0.0, 1.0)


def test_names_of_two_lines_have_the_height_of_two_lines():
    names = ["a method with a name that is long", "another method with a name as long"]
    grid = Grid(LIGHT, height=10)
    grid.panel().points([0, 1], names)
    grid.y(categories=names)
    drawing = grid.figure(SIZES["single"])
    assert all("<br>" in text for text in drawing.layout.yaxis.ticktext)
    area = drawing.layout.height - drawing.layout.margin.t - drawing.layout.margin.b
    assert area >= 2 * 2 * 1.2 * SIZES["single"].font


def test_stages_are_in_the_order_of_the_chain_and_few_are_written():
    stages = ["readout", *(f"block {i}" for i in np.random.default_rng(0).permutation(30)), "embed"]
    order = chain(stages)
    assert order == ["embed", *(f"block {i}" for i in range(30)), "readout"]
    names = written([short(stage) for stage in order])
    assert names == ["embed", "4", "8", "12", "16", "20", "24", "readout"]
    assert written(["embed", "0", "1", "readout"]) == ["embed", "0", "1", "readout"]


def test_numbers_in_cells_that_are_too_narrow_for_them_are_left_to_the_cursor():
    wide, narrow = (heat(5, 1.0, "-0.25").figure(Size(width=width, font=13)).data[0] for width in (700, 120))
    assert wide.texttemplate == "%{text}"
    assert narrow.texttemplate is None
    assert narrow.text is None


def test_numbers_in_the_cells_of_nine_tasks_are_left_to_the_cursor_on_a_phone():
    """21 px hold five letters of 7 px: too small to read, and their outlines run into each other."""
    for width, there in ((280, False), (720, True)):
        drawn = heat(9, 1.0, "-0.25").figure(Size(width=width, font=13)).data[0]
        assert (drawn.texttemplate is not None) is there


def test_an_axis_has_two_numbers_where_there_is_room_for_few():
    assert readable([0.41, 0.95], 3) == 4  # steps of 0.5 would leave 0.5 alone
    assert readable([0.4025, 0.9225], 3) == 4  # in a narrow panel, where plotly leaves more room
    assert readable([-12.0, 12.0], 3) == 3  # -10, 0, 10
    assert readable([0.0, 1.0], 3) == 3
    assert readable([], 3) == readable([2.0, 2.0], 3) == 3
