"""The three answers a verdict can give."""

from __future__ import annotations

import pytest

from lab.statistics import Interval, Verdict


def verdict(low, high, *, side="above", threshold=0.0):
    return Verdict("c", "s", "q", Interval((low + high) / 2, low, high, 3), threshold, side, "here", "f", "run")


@pytest.mark.parametrize(
    ("low", "high", "side", "answer"),
    [
        (0.1, 0.3, "above", "holds here"),
        (0.1, 0.3, "below", "does not hold here"),
        (-0.3, -0.1, "below", "holds here"),
        (-0.3, -0.1, "above", "does not hold here"),
        (-0.1, 0.3, "above", "cannot tell"),
        (-0.1, 0.3, "below", "cannot tell"),
    ],
)
def test_answer_is_the_side_the_whole_interval_lies_on(low, high, side, answer):
    assert verdict(low, high, side=side).answer == answer
    assert verdict(low + 5, high + 5, side=side, threshold=5).answer == answer
