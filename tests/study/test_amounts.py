"""How much there must be: a step of training, two examples to score on. No steps is a measurement of one run alone."""

from __future__ import annotations

import pytest

from lab.study import TRAINING_RUN


def test_no_steps_are_the_score_of_the_start_alone():
    run = {"model": "tiny-bert", "task": "bbc-news", "method": {"method": "lora"}, "seed": 0}
    assert TRAINING_RUN.config(**run, steps=0).steps == 0
    with pytest.raises(ValueError, match="--steps is 0; expected at least 1: without a step nothing is trained"):
        TRAINING_RUN.configs("smoke", steps=0)


@pytest.mark.parametrize("name", ["n_validation", "n_test"])
def test_a_score_is_of_two_examples_or_more(name):
    given = {"splits": 3, name: 1}
    with pytest.raises(ValueError, match=r"--n-\w+ is 1; expected at least 2: one alone is right or wrong"):
        TRAINING_RUN.configs("smoke", **given)
