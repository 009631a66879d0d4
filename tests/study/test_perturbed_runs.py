"""A trained delta under perturbed inputs: its numbers are those of the examples, however they are batched."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lab.control import activation_subspaces
from lab.deltas import Prefix
from lab.models.tiny import tiny_plm
from lab.statistics.robustness import CLEAN
from lab.study.perturbed_runs import Condition, PerturbedRun
from lab.tasks import Examples

WORDS = ("good", "bad", "film", "plot", "actor", "scene", "music", "story", "slow", "bright")


def test_a_mean_cost_is_that_of_the_examples_where_the_last_batch_is_smaller():
    plm = tiny_plm("bert", num_labels=2)
    delta = Prefix(2).on(plm, seed=1)
    texts = tuple(" ".join(WORDS[(i * j) % 10] for j in range(1, 5)) for i in range(1, 8))
    data = SimpleNamespace(splits={"test": Examples(texts, tuple(i % 2 for i in range(7)))})
    run = SimpleNamespace(data=data, opened=lambda: plm, how=None, seed=0, on=lambda plm: delta, judged="test")
    generator = torch.Generator().manual_seed(2)
    spaces = activation_subspaces(torch.randn(9, 2, 16, generator=generator, dtype=torch.float64), share=0.5)

    def off(batch_size: int) -> list[float]:
        perturbed = PerturbedRun(run, delta.phi0, n_words=6, batch_size=batch_size)
        row = perturbed.robust(Condition(CLEAN, 0.0), spaces, 7, steps=0, lr=0.01)
        return [row["off_before"], row["off_after"]]

    assert off(5) == pytest.approx(off(7))
