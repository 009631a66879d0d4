"""The time at which a growing value passes a level: exact for power laws, and inf where it does not."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from lab.geometry import extrapolated_passage, first_passage

TIMES = np.array([1.0, 2.0, 5.0, 10.0])


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_power_law_is_interpolated_and_extrapolated_exactly(power):
    values = 3 * TIMES**power
    level = 3 * 7.0**power
    assert first_passage(TIMES, values, level) == pytest.approx(7)
    assert extrapolated_passage(TIMES[:2], values[:2], level) == pytest.approx(7)
    assert first_passage(TIMES[:3], values[:3], level) == inf


def test_a_single_value_grows_in_proportion_and_zeros_say_nothing():
    assert extrapolated_passage([2.0], [4.0], 10.0) == pytest.approx(5)
    assert extrapolated_passage([1.0, 2.0], [0.0, 4.0], 10.0) == pytest.approx(5)
    assert extrapolated_passage([1.0, 2.0], [0.0, 0.0], 1.0) == inf
    assert extrapolated_passage([1.0, 2.0], [2.0, 1.0], 5.0) == inf
    assert first_passage([1.0, 2.0], [0.0, 4.0], 1.0) == 2.0


def test_the_first_passage_counts_and_not_a_later_one():
    assert first_passage([1, 2, 3, 4], [2, 0.5, 0.5, 3], 1.0) == 1.0
    assert first_passage([1, 2, 4], [1, 4, 1], 2.0) == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    ("times", "values", "level"),
    [([0, 1], [1, 2], 1), ([2, 1], [1, 2], 1), ([1, 2], [1], 1), ([], [], 1), ([1], [1], 0), ([1], [np.nan], 1)],
)
def test_what_is_no_growing_value_is_refused(times, values, level):
    for passage in (first_passage, extrapolated_passage):
        with pytest.raises(ValueError, match="times"):
            passage(times, values, level)
