"""The unit of a ranking of methods is the method."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.statistics import rank_correlation_interval
from lab.statistics.controllability import ranking_correlations


def runs(tasks=("a", "b", "c"), methods=6, seeds=2, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {"model": "m", "task": task, "label": f"method {i}", "seed": s, "trace": i + noise, "score": i - 3 * noise}
        for task in tasks
        for i in range(methods)
        for s, noise in zip(range(seeds), rng.standard_normal(seeds), strict=True)
    ]
    return pd.DataFrame(rows)


def test_tasks_and_seeds_are_no_new_methods():
    assert ranking_correlations(runs(), ["trace"])["trace"].n == 6
    one = runs(tasks=("a",), seeds=1)
    found, expected = ranking_correlations(one, ["trace"])["trace"], rank_correlation_interval(one.trace, one.score)
    assert (found.estimate, found.n) == (pytest.approx(expected.estimate), 6)


def test_repeating_a_task_narrows_nothing():
    """The same ranking thrice is the evidence of one."""
    one = runs(tasks=("a",), methods=8)
    thrice = pd.concat([one.assign(task=task) for task in "abc"], ignore_index=True)
    first, all_three = (ranking_correlations(table, ["trace"])["trace"] for table in (one, thrice))
    assert all_three.estimate == pytest.approx(first.estimate)
    assert all_three.high - all_three.low > 0.8 * (first.high - first.low)


def test_what_was_not_measured_is_left_out():
    table = runs()
    table.loc[table.label == "method 0", "trace"] = np.nan
    assert ranking_correlations(table, ["trace"])["trace"].n == 5
