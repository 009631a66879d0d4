from __future__ import annotations

import pytest

from lab.training import default_step_size, schedule
from lab.training.step_size import FULL_STEP_SIZE


def test_full_dimension_gets_the_full_step_size():
    assert default_step_size(1000, 1000) == FULL_STEP_SIZE


def test_step_grows_as_the_subspace_shrinks_between_the_two_bounds():
    D = 22_713_986
    for d in (10, 100, 1000, 10**5):
        step = default_step_size(d, D) / FULL_STEP_SIZE
        assert (D / d) ** 0.5 < step < D / d


def test_impossible_dimensions_are_refused():
    with pytest.raises(ValueError, match="0 < d <= D"):
        default_step_size(11, 10)


def test_schedule_warms_up_then_decays_to_almost_zero():
    factors = [schedule(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == [pytest.approx((i + 1) / 10) for i in range(10)]
    assert factors[10] == 1.0
    assert factors[-1] == pytest.approx(1 / 90)
    assert max(factors) == 1.0


def test_schedule_without_warmup_starts_at_one():
    assert schedule(0, 10, 0.0) == 1.0
