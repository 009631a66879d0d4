"""Means and ranges over seeds, and what is left out of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.figures import LEARNING_CURVES
from lab.figures.learning_curves import curves

TABLE = pd.DataFrame(
    {
        "label": "LoRA",
        "seed": [0, 0, 1, 1],
        "step": [0, 10, 0, 10],
        "seconds": [0.0, 2.0, 0.0, 4.0],
        "split": "validation",
        "loss": [1.6, 0.4, 1.2, np.nan],
        "score": [0.2, 0.8, 0.3, 0.6],
    }
)


def test_mean_and_range_over_seeds():
    found = curves(TABLE, "score")
    assert found.step.tolist() == [0, 10]
    np.testing.assert_allclose(found[["mean", "low", "high"]], [[0.25, 0.2, 0.3], [0.7, 0.6, 0.8]])
    assert found.seeds.tolist() == [2, 2]
    assert found.seconds.tolist() == [0.0, 3.0]


def test_values_that_are_not_finite_are_left_out():
    found = curves(TABLE, "loss")
    assert found.seeds.tolist() == [2, 1]
    assert found["mean"].tolist() == pytest.approx([1.4, 0.4])


def test_a_band_only_where_there_are_several_seeds():
    def bands(table):
        return sum(trace.fill == "toself" for trace in LEARNING_CURVES.draw(table).data)

    assert bands(TABLE) == 2
    assert bands(TABLE[TABLE.seed == 0]) == 0


def test_summary_takes_the_last_evaluation_of_each_seed():
    (row,) = LEARNING_CURVES.summarize(TABLE).to_dict("records")
    assert (row["seeds [count]"], row["steps [count]"], row["time [s]"]) == (2, 10, 3.0)
    assert (row["score"], row["lowest score"], row["highest score"]) == pytest.approx((0.7, 0.6, 0.8))
    assert "LoRA: 0.700 [0.600, 0.800]" in LEARNING_CURVES.alt(TABLE)
