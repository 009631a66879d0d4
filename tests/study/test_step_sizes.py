"""The search of step sizes: its grid, and when it grows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.runs import Job, Record
from lab.study import Finding
from lab.study.step_sizes import half_decade, step_size, tuned


@pytest.mark.parametrize(("k", "lr"), [(-8, 1e-4), (-7, 3e-4), (-6, 1e-3), (0, 1.0), (1, 3.0)])
def test_step_sizes_are_half_decades(k, lr):
    assert step_size(k) == lr
    assert half_decade(lr) == k


def finding(score: float) -> Finding:
    history = pd.DataFrame({"split": ["validation"], "score": [score], "loss": [1.0]})
    return Finding(None, Record(Job("training_run", {}), {}, {"history": history}))


@pytest.mark.parametrize(
    ("best", "grid"),
    [
        (3e-3, [1e-3, 3e-3, 1e-2]),  # inside: three values are enough
        (1e-3, [3e-4, 1e-3, 3e-3, 1e-2]),  # at the lower edge: one more settles it
        (1e-1, [1e-3, 3e-3, 1e-2, 3e-2, 1e-1]),  # beyond the upper edge: five at most
    ],
)
def test_a_grid_grows_towards_its_best_and_no_further_than_allowed(best, grid):
    asked: list[tuple[str, float]] = []

    def run(tried):
        asked.extend(tried)
        return [finding(-abs(np.log(lr / best))) for _, lr in tried]

    found = tuned({"LoRA": 3e-3, "adapter": 1e-3}, run, smallest=3, largest=5)
    assert list(found["LoRA"].tried) == grid
    assert found["LoRA"].best == best
    assert sorted(asked) == sorted((label, lr) for label, sizes in found.items() for lr in sizes.tried)  # none twice


def test_of_equal_step_sizes_the_smallest_is_taken():
    found = tuned({"LoRA": 1e-3}, lambda tried: [finding(0.5) for _ in tried], smallest=3, largest=3)
    assert found["LoRA"].best == 3e-4
