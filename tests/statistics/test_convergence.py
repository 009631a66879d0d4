"""When a curve reaches a level, by hand; and which runs are compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.statistics.convergence import first_reached, reaching, steps_to_common_level


def run(label, scores, *, task="t", seed=0, kind="delta") -> pd.DataFrame:
    step = 10 * np.arange(1, len(scores) + 1)
    return pd.DataFrame(
        {"label": label, "kind": kind, "task": task, "seed": seed, "step": step, "seconds": step / 5, "score": scores}
    )


def test_a_level_is_reached_between_evaluations_and_before_the_first_is_unknown():
    x = np.array([10.0, 20.0, 30.0])
    assert first_reached(x, np.array([0.2, 0.4, 0.8]), 0.5) == pytest.approx(22.5)
    assert first_reached(x, np.array([0.6, 0.4, 0.8]), 0.5) == 10
    assert first_reached(x, np.array([0.2, 0.5, 0.3]), 0.5) == 20
    assert np.isnan(first_reached(x, np.array([0.2, 0.4, 0.45]), 0.5))
    assert np.isnan(first_reached(np.array([]), np.array([]), 0.5))


def test_own_level_is_a_share_of_the_last_score():
    table = run("LoRA", [0.2, 0.6, 1.0]).sample(frac=1, random_state=0)
    (row,) = reaching(table).to_dict("records")
    assert row["final"] == 1.0
    assert row["steps"] == pytest.approx(20 + 10 * 0.35 / 0.4)  # 0.95 lies 7/8 of the way from 0.6 to 1
    assert row["time"] == pytest.approx(row["steps"] / 5)


def test_pairs_are_compared_at_a_level_that_both_reach():
    # the lower last score is 0.4, the level 0.38: strong is there before its first evaluation, weak at step 29
    table = pd.concat([run("strong", [0.5, 0.8, 0.9]), run("weak", [0.1, 0.2, 0.4])])
    assert steps_to_common_level(table, "weak", "strong") == {"t": {0: pytest.approx(29 - 10)}}
    assert steps_to_common_level(table, "strong", "weak") == {"t": {0: pytest.approx(10 - 29)}}


def test_a_seed_that_one_of_the_two_lacks_is_left_out():
    table = pd.concat([run("a", [0.5, 0.8]), run("a", [0.5, 0.8], seed=1), run("b", [0.5, 0.8], seed=1)])
    assert steps_to_common_level(table, "a", "b") == {"t": {1: 0.0}}
    assert steps_to_common_level(table, "a", "c") == {}


def test_an_evaluation_without_a_score_ends_no_comparison():
    # as in `reaching`, the last score is the last there is: 0.9 of a, 0.85 of b, whose level 0.8075 a reaches first
    table = pd.concat([run("a", [0.2, 0.5, 0.9, np.nan]), run("b", [0.2, 0.6, 0.8, 0.85]), run("c", [np.nan, np.nan])])
    expected = 20 + 10 * 0.3075 / 0.4 - (30 + 10 * 0.0075 / 0.05)
    assert steps_to_common_level(table, "a", "b") == {"t": {0: pytest.approx(expected)}}
    assert steps_to_common_level(table, "a", "c") == {}
