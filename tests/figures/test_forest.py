"""The forest plot of verdicts: what is drawn where, and what nothing bounds."""

from __future__ import annotations

from math import inf

import pytest

from lab.figures import DARK, LIGHT
from lab.figures.forest import forest, row_names, standing, unit_in
from lab.statistics import Interval, Verdict


def verdict(claim: str, low: float, high: float, *, estimate: float = 0.2, unit: str = "accuracy", **more) -> Verdict:
    fixed = {"source": "s", "quantity": f"gain [{unit}]", "threshold": 0.0, "side": "above", "setting": "minilm; x"}
    return Verdict(
        claim=claim, measured=Interval(estimate, low, high, more.pop("n", 5)), figure="f", unit="tasks",
        **{**fixed, **more},
    )  # fmt: skip


def test_estimates_stand_in_their_rows_with_their_intervals_beside_the_threshold():
    found = forest([verdict("A.", 0.1, 0.3), verdict("B.", -0.1, 0.5)], LIGHT).figure()
    holds, open_one = (trace for trace in found.data if trace.error_x.array is not None)
    assert list(holds.y) == ["A (n = 5 tasks)"]
    assert (holds.x[0], holds.error_x.array[0], holds.error_x.arrayminus[0]) == pytest.approx((0.2, 0.1, 0.1))
    assert (holds.name, open_one.name) == ("holds here", "cannot tell")
    assert holds.marker.symbol != open_one.marker.symbol
    assert {(shape.x0, shape.x1) for shape in found.layout.shapes} == {(0.0, 0.0)}


def test_every_statement_of_a_claim_is_counted_in_its_bar():
    claims = {"one": [verdict("A", 0.1, 0.3), verdict("B", -0.1, 0.5)], "two": [verdict("C", -0.4, -0.2)]}
    found = standing(claims, LIGHT).figure()
    bars = {trace.name: dict(zip(trace.y, trace.x, strict=True)) for trace in found.data}
    assert bars == {
        "holds here": {"one": 1, "two": 0}, "does not hold here": {"one": 0, "two": 1},
        "cannot tell": {"one": 1, "two": 0},
    }  # fmt: skip
    assert found.layout.barmode == "stack"
    assert len({trace.marker.color for trace in found.data}) == 3


def test_units_and_thresholds_have_panels_of_their_own():
    rows = [verdict("A", 0.1, 0.3), verdict("B", 0.1, 0.3, unit="step"), verdict("C", 0.1, 0.3, threshold=1.0)]
    titles = [axis.title.text for axis in forest(rows, DARK).figure().select_xaxes()]
    assert sorted(titles) == ["gain [accuracy]", "gain [accuracy]", "gain [step]"]


def test_an_end_that_nothing_bounds_is_an_arrow_at_the_edge():
    found = forest([verdict("A", -inf, 0.3)], LIGHT).figure()
    (arrow,) = (trace for trace in found.data if trace.marker.symbol == "triangle-left")
    low, _ = found.layout.xaxis.range
    assert arrow.x[0] == pytest.approx(low)


def test_small_shares_are_on_a_logarithmic_axis_and_alike_rows_are_told_apart():
    row = verdict("A", 1e-5, 1e-4, estimate=4e-5, threshold=0.01)
    found = forest([row, row, row], LIGHT).figure()
    assert found.layout.xaxis.type == "log"
    names = found.layout.yaxis.categoryarray
    assert len(set(names)) == 3
    assert any(name.endswith("A (minilm; n = 5 tasks) #3") for name in names)


def test_an_interval_that_reaches_down_to_next_to_nothing_makes_no_axis_logarithmic():
    found = forest([verdict("A", 1e-3, 0.7, estimate=0.4, threshold=0.65)], LIGHT).figure()
    assert found.layout.xaxis.type is None  # linear


def test_the_unit_is_what_the_quantity_ends_with():
    assert unit_in("ρ over methods [1]; below 0.71 [a note] means less") == "a note"
    assert unit_in("d90 / D") == "1"
    with pytest.raises(ValueError, match="a forest needs one verdict or more"):
        forest([], LIGHT)


def test_rows_of_one_statement_are_told_apart_by_what_is_particular_to_them():
    places = [
        "minilm · bbc-news · 240 examples; seeds 0, 1",
        "minilm · subj · 240 examples; seeds 0",
        "minilm · subj · few",
    ]
    rows = [verdict("It helps.", 0.1, 0.3, setting=place) for place in places]
    assert row_names([*rows, verdict("Alone.", 0.1, 0.3, setting=places[0])]) == [
        "It helps (bbc-news · 240 examples; n = 5 tasks)", "It helps (subj · 240 examples; n = 5 tasks)",
        "It helps (subj · few; n = 5 tasks)", "Alone (n = 5 tasks)",
    ]  # fmt: skip
