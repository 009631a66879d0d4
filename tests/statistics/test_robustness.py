"""Losses and radii, open loop beside feedback, by hand."""

from __future__ import annotations

from math import log

import pandas as pd
import pytest

from lab.statistics.robustness import median_radii, radius_ratios


def table():
    """Median radii: feedback 2 and 8 (geometric mean 4), open loop 1; with seed 1 feedback has them twice as large."""
    rows = []
    for seed in (0, 1):
        for label, loop, radius in (("a", "feedback", 2.0), ("b", "feedback", 8.0), ("c", "open loop", 1.0)):
            factor = 2 if seed == 1 and loop == "feedback" else 1
            rows += [(label, loop, seed, 1.0, r * factor * radius) for r in (0.5, 1, 3)]
            rows.append((label, loop, seed, -1.0, 0.0))  # a wrong answer has no radius
    return pd.DataFrame(rows, columns=["label", "loop", "seed", "margin", "radius"])


def test_radii_are_medians_over_right_answers_and_geometric_means_over_methods():
    assert median_radii(table().query("label == 'a'")).tolist() == [2, 4]
    assert radius_ratios(table()) == pytest.approx([log(4), log(8)])
