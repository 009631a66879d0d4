"""Ranks and critical differences against published values and scipy."""

from __future__ import annotations

from math import inf, isnan, sqrt

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lab.statistics import critical_difference


def table(rows, columns="abcd") -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns))


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_values_are_those_of_demsar(k, q):
    # Demšar 2006, table 5(a), α = 0.05
    scores = table(np.arange(14 * k).reshape(14, k) ** 0.5, [str(i) for i in range(k)])
    assert critical_difference(scores).critical_difference == pytest.approx(q * sqrt(k * (k + 1) / (6 * 14)), abs=1e-3)


def test_ranks_share_ties_and_count_from_the_best():
    found = critical_difference(table([[0.9, 0.8, 0.8, 0.1], [0.9, 0.7, 0.8, 0.1]]))
    assert found.mean_ranks == {"a": 1.0, "b": 2.75, "c": 2.25, "d": 4.0}


def test_friedman_is_scipys_and_pairs_beyond_the_difference_are_told_apart():
    rng = np.random.default_rng(0)
    scores = table(np.array([3.0, 2.0, 2.0, 0.0]) + 0.1 * rng.standard_normal((20, 4)))
    found = critical_difference(scores)
    assert found.p_value == pytest.approx(stats.friedmanchisquare(*scores.to_numpy().T).pvalue)
    assert set(found.told_apart) >= {("a", "d"), ("b", "d"), ("c", "d"), ("a", "b"), ("a", "c")}
    assert {("b", "c"), ("c", "b")}.isdisjoint(found.told_apart)
    assert "of 6 pairs are told apart" in found.told


def test_false_alarms_are_as_rare_as_promised():
    rng = np.random.default_rng(1)
    alarms = sum(bool(critical_difference(table(rng.standard_normal((12, 4)))).told_apart) for _ in range(300))
    assert alarms / 300 <= 0.08


def test_few_tasks_cannot_tell():
    one = critical_difference(table([[0.9, 0.8, 0.7, 0.1]]))
    assert isnan(one.p_value)
    assert one.critical_difference == inf
    assert not one.told_apart
    assert "too few to rank" in one.told
    three = critical_difference(table([[0.9, 0.8, 0.7, 0.6]] * 3))
    assert three.told_apart == (("a", "d"),)
    assert "no pair" in critical_difference(table([[0.9, 0.8, 0.7, 0.6]] * 2)).told


def test_missing_scores_are_refused():
    with pytest.raises(ValueError, match="finite score of every method on every task; got 1 tasks × 4 methods with 1"):
        critical_difference(table([[0.9, np.nan, 0.7, 0.1]]))
    with pytest.raises(ValueError, match="got 0 tasks"):
        critical_difference(table([]))
