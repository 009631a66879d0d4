"""What answering every example alike scores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.tasks import Examples, Task
from lab.tasks.constant import constant_score
from lab.tasks.metrics import ACCURACY, F1, PEARSON


def examples(labels) -> Examples:
    return Examples(tuple(f"text {i}" for i in range(len(labels))), tuple(labels))


TASK = Task("made up", "classification", ("no", "yes"), examples([0, 1] * 5), examples([0] * 7 + [1] * 3), ACCURACY)


def test_of_an_accuracy_it_is_the_share_of_the_majority():
    assert constant_score(TASK) == pytest.approx(0.7)
    assert constant_score(TASK, "train") == pytest.approx(0.5)


def test_of_f1_it_is_that_of_always_saying_yes():
    """Precision 0.3, recall 1."""
    assert constant_score(replace(TASK, metric=F1)) == pytest.approx(2 * 0.3 / 1.3)


def test_of_a_regression_it_is_nothing():
    values = examples([0.1 * i for i in range(10)])
    assert constant_score(Task("made up", "regression", (), values, values, PEARSON)) == 0.0
