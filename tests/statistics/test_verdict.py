"""The three answers a verdict can give, and why it may be none."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from scipy.stats import t as student

from lab.statistics import Evidence, Interval, Verdict, judged, mean_interval, strongest, worst_case


def verdict(low, high, *, side="above", threshold=0.0, n=5, **more):
    measured = Interval((low + high) / 2, low, high, n)
    return Verdict("c", "s", "q", measured, threshold, side, "here", "f", "seeds", **more)


def of(values, *, number=3, source="s", exact=False):
    measured = worst_case(values, side="above") if exact else mean_interval(values)
    return Verdict("c", source, "q", measured, 0.0, "above", "here", "f", "seeds", number, exact)


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


def test_fewer_than_five_units_decide_nothing():
    few = verdict(0.1, 0.3, n=4)
    assert (few.answer, few.alone, few.too_few) == ("cannot tell", "holds here", True)
    assert few.reason == "n = 4 seeds; needs at least 5"
    assert verdict(0.1, 0.3, n=5).reason == ""
    assert verdict(0.1, 0.3, n=1, exact=True).answer == "holds here"


def test_what_too_few_units_say_is_left_out_where_the_same_stands_on_enough():
    few, enough, other = verdict(-0.3, -0.1, n=3), verdict(-0.1, 0.3, n=8), verdict(0.1, 0.3, n=6)
    assert strongest([few, enough, other, few]) == [replace(enough, weaker=2), other]  # whatever they say
    assert strongest([few, few]) == [few, few]  # nothing better is known
    for own in ({"models": ("a",)}, {"unit": "tasks"}, {"claim": "another"}, {"number": 3}):
        assert strongest([replace(few, **own), enough]) == [replace(few, **own), enough]


def test_a_family_is_corrected_by_holms_rule():
    """Five statements whose own p are known: the smallest is multiplied by five, the next by four, …"""
    rng = np.random.default_rng(0)
    samples = [rng.standard_normal(6) + shift for shift in (3.0, 1.2, 0.6, 0.1, -2.0)]
    alone = [of(values.tolist()) for values in samples]
    p = [v.measured.p_value(0.0) for v in alone]
    found = judged(alone)
    first = int(np.argmin(p))
    assert found[first].adjusted == pytest.approx(5 * p[first])
    assert all(v.adjusted >= own for v, own in zip(found, p, strict=True))
    assert {v.together for v in found} == {5}
    lost = [v for v in found if v.alone != "cannot tell" and v.answer == "cannot tell"]
    assert lost
    assert all(v.reason.startswith("alone it would") and "among 5 statements p = " in v.reason for v in lost)


def test_families_are_apart_and_hold_only_what_chance_can_decide():
    clear, few, bound = [0.2, 0.3, 0.25, 0.28, 0.22], [0.2, 0.3, 0.25], [0.1] * 9
    other = of(clear, number=None, source="another paper")
    found = judged([of(clear), of(few), of(bound, exact=True), other])
    assert [v.together for v in found] == [1, 1, 1, 1]
    assert found[0].adjusted == pytest.approx(of(clear).measured.p_value(0.0))
    assert (found[1].adjusted, found[2].adjusted) == (None, None)
    assert [v.answer for v in found] == ["holds here", "cannot tell", "holds here", "holds here"]


def test_of_true_nulls_a_family_decides_one_time_in_twenty_at_most():
    rng = np.random.default_rng(2)
    false = [
        any(v.answer != "cannot tell" for v in judged([of(rng.standard_normal(5).tolist()) for _ in range(8)]))
        for _ in range(150)
    ]
    assert np.mean(false) <= 0.1  # 0.05 + 2.8 standard errors


def test_units_that_would_decide():
    """Half width 0.2 at n = 5 (t = 2.776), distance 0.1: s = 0.161, and t·s/√n < 0.1 from n = 13 on."""
    v = verdict(-0.1, 0.3)
    assert v.units_needed == 13
    assert verdict(0.05, 0.15, n=3).units_needed == 5
    assert verdict(-1.0, 1.0).units_needed is None  # on the threshold
    assert replace(v, exact=True).units_needed is None


def test_units_that_would_decide_among_others():
    """Alone t·s/√n < 0.1 from n = 13 on; among ten, with t at 0.9975 (3.249 at n = 28), from n = 28."""
    v = verdict(-0.1, 0.3)
    spread = 0.2 * sqrt(5) / student.ppf(0.975, 4)
    needed = replace(v, together=10).units_needed
    at, before = (student.ppf(1 - 0.025 / 10, n - 1) * spread / sqrt(n) for n in (needed, needed - 1))
    assert at < 0.1 < before
    assert needed > v.units_needed


def test_evidence_is_what_verdicts_have_alike():
    evidence = Evidence("a source", "here", "f", "seeds", number=3)
    measured = Interval(0.5, 0.4, 0.6, 5)
    high = evidence.above(0.2, measured, "It helps.", "gain [1]")
    assert high == Verdict("It helps.", "a source", "gain [1]", measured, 0.2, "above", "here", "f", "seeds", 3)
    low = evidence.below(0.2, measured, "It costs little.", "loss [1]", number=None, setting="there", exact=True)
    assert (low.answer, low.number, low.setting, low.exact) == ("does not hold here", None, "there", True)
