from __future__ import annotations

from math import inf, log

import numpy as np
import pytest

from lab.geometry.closed_forms import grouped_sums_minimum
from lab.geometry.intrinsic_dimension import intrinsic_dimension
from lab.geometry.planted_dimension import planted_search, power_curve
from lab.projections import Gaussian


def curve(d50: float, noise: float = 0.0):
    """Logistic in log d with value 0.5 at d50; its 0.9 crossing is at d50·9 exactly."""

    def score(d, seeds):
        clean = 1 / (1 + d50 / d)
        return [clean + noise * np.random.default_rng((d, seed)).standard_normal() for seed in seeds]

    return score


def test_finds_the_crossing_of_a_known_curve():
    found = intrinsic_dimension(curve(100), [1.0], max_dimension=10**6, tolerance=1.02, max_evaluations=200)
    assert found.status == "converged"
    assert abs(log(found.d / 900)) < log(1.02)
    assert found.low <= found.d <= found.high


def test_li_toy_has_dimension_ten_found_by_the_search_itself():
    def score(d, seeds):
        return [-float(grouped_sums_minimum(Gaussian(1000, d, seed=seed))) for seed in seeds]

    start_loss = 0.5 * sum(k * k for k in range(1, 11))
    found = intrinsic_dimension(
        score,
        [0.0, 0.0],  # the solution exists: loss 0, whatever the seed
        floor_score=-start_loss,
        fraction=1 - 1e-10,
        max_dimension=1000,
        tolerance=1.0,
        seeds=range(5),
        max_evaluations=60,
    )
    assert (found.d, found.high) == (10, 10)  # at nine dimensions the losses are so skewed that the t test keeps them
    assert found.low <= 10


def test_one_seed_bounds_nothing_and_the_status_says_so():
    found = intrinsic_dimension(curve(100, 0.01), [1.0, 1.0], max_dimension=10**5, seeds=(0,), tolerance=2.0)
    assert found.status == "one_seed"
    assert "two seeds or more" in found.message
    assert (found.low, found.high) == (0.0, inf)
    assert 600 < found.d < 1400


def test_extra_seeds_give_the_interval_that_one_seed_lacks():
    found = intrinsic_dimension(
        curve(100, 0.01), [1.0, 1.0], max_dimension=10**5, seeds=(0,), extra_seeds=(1, 2), tolerance=2.0
    )
    assert found.status in ("converged", "budget")
    assert 0 < found.low <= 900 <= found.high < inf


@pytest.mark.parametrize("baseline", [[0.30, 0.42], [0.36]])
def test_a_baseline_that_learned_nothing_has_no_dimension(baseline):
    def score(d, seeds):
        raise AssertionError("nothing is to be measured")

    found = intrinsic_dimension(score, baseline, max_dimension=100, reference=0.31, n_examples=300)
    assert found.status == "nothing_learned"
    assert (found.d, found.low, found.high, found.scores, found.evaluations) == (None, 0.0, inf, {}, 0)
    assert "scores 0.36, not two standard errors above 0.31" in found.message


def test_a_baseline_above_the_reference_is_searched():
    found = intrinsic_dimension(curve(10), [1.0, 0.99], max_dimension=10**4, reference=0.9, n_examples=300)
    assert found.d is not None


def test_an_open_low_end_is_measured_further_down():
    """The start reaches the line: without a smaller dimension nothing says how far below it d90 lies."""
    searches = [planted_search(power_curve(700), 2, np.random.default_rng(trial)) for trial in range(20)]
    assert {min(found.scores) for found in searches} <= {15, 62, 250, 1000}
    for found in searches:
        assert found.low == 0 or found.low > min(found.scores)
    assert sum(found.low > 0 for found in searches) >= 15


def test_a_bracket_that_the_budget_cut_short_is_no_convergence():
    found = intrinsic_dimension(curve(1, 0.01), [1.0], max_dimension=10**5, start=10**5, max_evaluations=4)
    assert found.status == "budget"
    assert found.low == 0


def test_no_dimension_reaches_the_line():
    found = intrinsic_dimension(lambda d, seeds: [0.5] * len(seeds), [1.0], max_dimension=1000)
    assert found.status == "above_range"
    assert found.d is None
    assert found.high == inf


def test_every_dimension_reaches_the_line():
    found = intrinsic_dimension(lambda d, seeds: [1.0] * len(seeds), [1.0], max_dimension=1000, min_dimension=2)
    assert found.status == "below_range"
    assert found.d == 2


def test_budget_is_respected_and_said():
    found = intrinsic_dimension(curve(100), [1.0], max_dimension=10**6, max_evaluations=12, tolerance=1.001)
    assert found.evaluations <= 12
    assert found.status == "budget"


def test_extra_seeds_narrow_the_interval():
    few = intrinsic_dimension(curve(50, 0.04), [1.0, 1.0], max_dimension=10**5, seeds=(0, 1))
    more = intrinsic_dimension(
        curve(50, 0.04), [1.0, 1.0], max_dimension=10**5, seeds=(0, 1), extra_seeds=range(2, 30), max_evaluations=80
    )
    assert more.evaluations > few.evaluations
    assert log(more.high / more.low) < log(few.high / few.low)


def test_search_is_a_function_of_the_scores():
    first = intrinsic_dimension(curve(70, 0.03), [1.0, 0.98], max_dimension=10**4)
    second = intrinsic_dimension(curve(70, 0.03), [1.0, 0.98], max_dimension=10**4)
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"baseline": []}, "baseline needs at least one finite score"),
        ({"baseline": [float("nan")]}, "baseline needs at least one finite score"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": (0, 1, 0)}, "a seed twice is no sample of two"),
        ({"seeds": (0, 1), "extra_seeds": (1,)}, "a seed twice is no sample of two"),
        ({"max_dimension": 1}, "min_dimension < max_dimension"),
        ({"factor": 1.0}, "factor > 1"),
    ],
)
def test_misuse_is_refused(arguments, message):
    keywords = {"baseline": [1.0], "max_dimension": 100} | arguments
    with pytest.raises(ValueError, match=message):
        intrinsic_dimension(curve(10), **keywords)


def test_score_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="one finite score per seed"):
        intrinsic_dimension(lambda d, seeds: [float("nan")] * len(seeds), [1.0], max_dimension=100)
