"""Onsets and forecasts of them: what orders the runs is no merit of a forecast."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.statistics.intruder_onset import agreement, order_within_runs


def test_a_forecast_that_only_knows_the_run_is_worth_nothing():
    """Two runs on levels 1 and 100: over all rows the order is nearly right, within each run it is reversed."""
    seen = [*range(5, 0, -1), *range(500, 0, -100)]
    forecast = [*range(1, 6), *range(100, 600, 100)]
    rows = pd.DataFrame({"seen": seen, "x": forecast, "run": list("aaaaabbbbb")}).astype({"seen": float, "x": float})
    rows = rows.assign(model="m", label="LoRA")
    assert rows.x.rank().corr(rows.seen.rank()) > 0.4
    assert order_within_runs(rows, "x") == {("m", "LoRA"): [pytest.approx(-1.0), pytest.approx(-1.0)]}


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
