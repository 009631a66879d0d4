"""What tasks share beyond nulls, and gains of coordinates: planted numbers."""

from __future__ import annotations

import pandas as pd
import pytest

from lab.statistics.shared_subspace import (
    MEAN,
    RANDOM,
    SHARED,
    gain_at,
    gain_over,
    share_over_null,
    sharing_verdicts,
    worth_verdicts,
)


def beside(gain: float) -> pd.DataFrame:
    rows = [
        {"null": "same spectra", "task": f"t{t}", "k": k, "share": 0.1 * k + gain + 0.01 * t, "null_share": 0.1 * k}
        for t in range(5)
        for k in (0, 1, 2)
    ]
    return pd.DataFrame(rows)


def scores() -> pd.DataFrame:
    """The full method gains 0.5 on five tasks, and next to nothing on a sixth, which all rows leave at chance."""
    rows = []
    for t in range(5):
        for k in (1, 5):
            rows.append((f"t{t}", SHARED, k, 0.7 + 0.02 * k))
            rows.append((f"t{t}", RANDOM, k, 0.5 + 0.02 * k + 0.01 * t))
        rows.append((f"t{t}", MEAN, 0, 0.77 + 0.03 * (-1) ** t))
    table = pd.DataFrame(rows, columns=["task", "row", "k", "relative"])
    learned = table.assign(score=0.5 + 0.5 * table.relative, full=1.0, chance=0.5)
    return pd.concat([learned, learned[learned.task == "t0"].assign(task="not learned", score=0.5, full=0.501)])


def test_a_share_is_taken_with_all_directions_and_averaged_over_tasks():
    found = share_over_null(beside(0.2), "same spectra")
    assert found.estimate == pytest.approx(0.22)
    assert found.n == 5
    assert found.low < 0.22 < found.high
    with pytest.raises(ValueError, match="no null 'other'; there are same spectra"):
        share_over_null(beside(0.2), "other")


def test_a_gain_compares_equal_k_and_a_fixed_body_stands_at_every_k():
    assert gain_over(scores(), SHARED, RANDOM)["t2"] == pytest.approx((0.09, 0.5))
    assert gain_over(scores(), SHARED, MEAN)["t0"] == pytest.approx(((-0.04 + 0.0) / 2, 0.5))
    assert gain_over(scores(), SHARED, "no such row") == {}


def test_tasks_that_were_not_learned_count_by_their_gain():
    tasks = ["t0", "t1", "t2", "t3", "t4", "not learned"]
    assert list(gain_over(scores(), SHARED, MEAN)) == list(gain_at(scores(), SHARED, 5)) == tasks
    assert gain_at(scores(), SHARED, 5) == gain_at(scores(), SHARED)
    assert gain_at(scores(), SHARED, 5)["t1"] == pytest.approx((0.4, 0.5))
    assert gain_at(scores(), SHARED, 5)["not learned"] == pytest.approx((0.0, 0.001))


def answers(beside: pd.DataFrame) -> dict[str, str]:
    verdicts = sharing_verdicts(beside, "here") + worth_verdicts(scores(), "here")
    return {v.claim.rsplit(" ", 1)[-1]: v.answer for v in verdicts}


@pytest.mark.parametrize(("gain", "answer"), [(0.2, "holds here"), (-0.4, "does not hold here")])
def test_verdicts_are_those_planted(gain, answer):
    found = answers(beside(gain))
    assert found["do."] == answer
    assert found["trained."] == "holds here"
    assert found["adapter."] == "cannot tell"
    assert found["tasks."] == "holds here"
    assert [v.figure for v in sharing_verdicts(beside(gain), "here")] == ["shared_directions"]
    assert {v.figure for v in worth_verdicts(scores(), "here")} == {"subspace_scores"}


def test_every_null_is_judged_by_the_one_that_wins():
    """Beyond the same spectra, and yet no more than the activations draw."""
    activations = beside(-0.4).assign(null="inputs of the layers at θ₀")
    assert answers(pd.concat([beside(0.2), activations]))["do."] == "does not hold here"
    (shares,) = sharing_verdicts(pd.concat([beside(0.2), activations]), "here")
    assert "of 2 nulls (same spectra, inputs of the layers at θ₀)" in shares.quantity
    assert shares.measured.n == 5
