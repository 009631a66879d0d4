"""Lines whose intervals stand side by side."""

from __future__ import annotations

import pytest

from lab.figures.grammar import apart


def test_lines_stand_evenly_around_what_they_belong_to():
    places = [apart([1, 20], place, 3) for place in range(3)]
    assert places[1] == [1, 20]
    for low, middle, high in zip(*places, strict=True):
        assert low < middle < high
        assert low * high == pytest.approx(middle**2)
    assert apart([5], 0, 1) == [5]
