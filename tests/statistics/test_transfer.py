"""Likeness and transfer over pairs of tasks: the tasks are the units."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from lab.statistics.transfer import correlations, likeness_test


def pairs(n: int, label: str = "LoRA") -> pd.DataFrame:
    place = np.arange(n) ** 1.3
    rows = [
        {"label": label, "pair": f"t{i} · t{j}", "cosine": -abs(place[i] - place[j]), "transfer": place[i] - place[j]}
        for i, j in combinations(range(n), 2)
    ]
    return pd.DataFrame(rows)


def test_four_tasks_are_four_units_though_they_have_six_pairs():
    found = correlations(pairs(4), "cosine")["LoRA"]
    assert (found.estimate, found.low, found.n) == (pytest.approx(1.0), -1.0, 4)


def test_six_tasks_can_tell():
    assert correlations(pairs(6), "cosine")["LoRA"].low > 0


def test_seeds_of_a_pair_are_averaged():
    once = pairs(5)
    assert correlations(pd.concat([once, once]), "cosine") == correlations(once, "cosine")


def test_where_a_pair_is_missing_nothing_is_tested():
    table = pairs(6).drop(index=3)
    found = correlations(table, "cosine")["LoRA"]
    assert (found.low, found.high, found.n) == (-1.0, 1.0, 6)
    indexed = table.set_index("pair")
    assert likeness_test(indexed.cosine, indexed.transfer) is None
