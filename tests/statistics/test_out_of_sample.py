"""Prediction on unseen pairs: exact lines, noise, and what may not leak."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.statistics.out_of_sample import predicted_out_of_sample, skill


def pairs(n: int, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    rows = [(f"t{i}", f"t{j}", *generator.normal(size=3)) for i in range(n) for j in range(n) if i != j]
    return pd.DataFrame(rows, columns=["one", "other", "x", "z", "noise"])


def test_a_line_is_found_and_explains_everything():
    table = pairs(7).assign(y=lambda t: 2 - 3 * t.x)
    np.testing.assert_allclose(predicted_out_of_sample(table, "x", "y"), table.y, atol=1e-12)
    found = skill(table, "x", "y")
    assert (found.estimate, found.n) == (pytest.approx(1.0), 7)
    assert found.low > 0.99


def test_noise_is_not_predicted_and_the_null_can_win():
    estimates = [skill(pairs(8, seed), "x", "noise").estimate for seed in range(20)]
    assert np.mean(estimates) < 0
    other = pairs(8).assign(y=lambda t: t.z + 0.1 * t.noise)
    assert skill(other, "x", "y", null="z").high < 0  # z knows, x does not


def test_a_pair_is_forecast_from_pairs_without_its_units():
    table = pairs(6).assign(y=lambda t: t.x)
    spoilt = table.assign(y=table.y.where((table.one != "t0") & (table.other != "t0"), 1e6))
    own = (table.one == "t0") | (table.other == "t0")
    for column in ("x", None):
        one, two = (predicted_out_of_sample(t, column, "y")[own] for t in (table, spoilt))
        np.testing.assert_allclose(one, two)


def test_the_interval_covers():
    """x and noise alike strong: the skill of the true line is the share of the variance that it explains, ½."""
    found = [skill(pairs(8, seed).assign(y=lambda t: t.x + t.noise), "x", "y") for seed in range(60)]
    assert np.mean([f.low <= 0.5 <= f.high for f in found]) > 0.85


def test_few_units_say_nothing():
    assert predicted_out_of_sample(pairs(3), "x", "z").isna().all()
    with pytest.raises(ValueError, match="needs five units or more"):
        skill(pairs(3), "x", "z")
    with pytest.raises(ValueError, match="the null predicts every pair exactly"):
        skill(pairs(6).assign(y=1.0), "x", "y")
