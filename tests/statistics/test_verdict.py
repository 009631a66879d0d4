"""The three answers a verdict can give."""

from __future__ import annotations

import pytest

from lab.statistics import Evidence, Interval, Verdict


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


def test_evidence_is_what_verdicts_have_alike():
    evidence = Evidence("a source", "here", "f", number=3)
    measured = Interval(0.5, 0.4, 0.6, 3)
    high = evidence.above(0.2, measured, "It helps.", "gain [1]")
    assert high == Verdict(
        "It helps.", "a source", "gain [1]", Interval(0.5, 0.4, 0.6, 3), 0.2, "above", "here", "f", 3
    )
    low = evidence.below(0.2, measured, "It costs little.", "loss [1]", number=None, setting="there")
    assert (low.answer, low.number, low.setting) == ("does not hold here", None, "there")
