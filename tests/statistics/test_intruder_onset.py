"""Onsets and forecasts of them: what orders the runs is no merit of a forecast."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.statistics.intruder_onset import agreement, centred_rank_correlation


def test_a_forecast_that_only_knows_the_run_is_worth_nothing():
    """Two runs on levels 1 and 100: over all rows the order is nearly right, within each run it is reversed."""
    rows = pd.DataFrame({"x": [1.0, 2, 3, 100, 200, 300], "y": [3.0, 2, 1, 300, 200, 100], "run": list("aaabbb")})
    assert rows.x.rank().corr(rows.y.rank()) > 0.5
    assert centred_rank_correlation(rows, "x", "y", groups=rows.run).estimate < -0.8


def test_agreement_is_the_median_ratio_where_both_fall_inside_the_run():
    onsets = pd.DataFrame(
        {"along": ["step size"] * 3, "seen": [4.0, 16.0, np.inf], "before": [1.0, 4.0, 8.0],
         "forecast": [1.0, 16.0, 3.0], "late": [np.inf] * 3}
    )  # fmt: skip
    found = agreement(onsets, ("forecast", "late"))
    assert found == {
        "step_size_seen": 2, "step_size_seen_over_forecast": pytest.approx((2 / 1 + 8 / 16) / 2),
        "step_size_seen_over_late": None,
    }  # fmt: skip
