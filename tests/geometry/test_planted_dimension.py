"""How often the interval of d90 covers a d90 that was planted."""

from __future__ import annotations

import pytest

from lab.geometry.planted_dimension import BASELINE, CURVES, START, planted_coverage

TRUTHS = (0.3, 0.5, 0.8, 1.0, 2.0, 3.0)


@pytest.mark.parametrize("shape", CURVES)
def test_planted_curves_have_their_d90(shape):
    curve = CURVES[shape](700.0)
    assert curve(700.0) == pytest.approx(0.9 * BASELINE)
    assert curve(1e9) == pytest.approx(BASELINE, abs=1e-4)
    assert curve(650) < curve(700) < curve(750)


@pytest.mark.parametrize(("shape", "n_seeds"), [("power law", 2), ("logistic", 3)])
@pytest.mark.parametrize("truth", [0.3, 0.8, 3.0])
def test_interval_covers_a_few_planted_dimensions(shape, n_seeds, truth):
    found = planted_coverage(shape, truth * START, n_seeds, trials=40)
    assert found["covered"] >= 0.85  # of a coverage of 0.95, 40 trials stay below with probability 0.003
    assert found["open"] <= 0.2
    assert found["width"] < 16


@pytest.mark.slow
@pytest.mark.parametrize("shape", CURVES)
@pytest.mark.parametrize("n_seeds", [2, 3, 5])
@pytest.mark.parametrize("truth", TRUTHS)
def test_interval_covers_planted_dimensions_as_often_as_it_says(shape, n_seeds, truth):
    found = planted_coverage(shape, truth * START, n_seeds, trials=500)
    assert found["covered"] >= 0.93
