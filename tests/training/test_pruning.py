"""Fitting in two stages: search, then what was kept."""

from __future__ import annotations

import pytest
import torch

from lab.deltas import BitFit, DiffPruning
from lab.models.tiny import tiny_plm
from lab.tasks import load_task
from lab.training import evaluate, fit, fit_and_prune

SETTINGS = {"lr": 1e-3, "batch_size": 8, "seed": 0, "evaluation_size": 32}


@pytest.fixture(scope="module")
def task():
    return load_task("rotten-tomatoes").subset(64, 32, seed=0)


@pytest.fixture(scope="module")
def plm():
    return tiny_plm("bert", dtype=torch.float32)


def test_what_is_scored_is_what_is_stored(plm, task):
    delta = DiffPruning(sparsity=0.02).on(plm)
    encoded = task.encode(plm, max_length=8)
    kept, result = fit_and_prune(delta, encoded, steps=8, **SETTINGS)
    assert result.phi.shape == (kept.size,) == (delta.stored_size,)
    assert evaluate(kept, encoded, result.phi, "validation", size=32)[1] == result.score
    assert result.steps == 8
    assert [row["step"] for row in result.history if row["split"] == "validation"] == [6, 8]


def test_the_second_stage_starts_where_the_first_ended_and_moves_only_what_was_kept(plm, task):
    delta = DiffPruning(sparsity=0.02).on(plm)
    encoded = task.encode(plm, max_length=8)
    kept, result = fit_and_prune(delta, encoded, steps=8, **SETTINGS)
    first = fit(delta, encoded, steps=6, **SETTINGS)
    same, phi = delta.training().finish(first.phi)
    assert kept.layout == same.layout
    second = fit(same, encoded, steps=2, phi0=phi, **SETTINGS)
    assert torch.equal(second.phi, result.phi)
    assert not torch.equal(result.phi, phi)


def test_gates_move_as_far_as_their_scale_says(plm, task):
    """AdamW moves φ by about lr a step, so a gate's logit α by gate_scale · lr: here 0.1, or 1e-3 with one scale."""
    encoded = task.encode(plm, max_length=8)

    def fall(scale: float) -> float:
        delta = DiffPruning(gate_scale=scale, l0_penalty=1e-3, head="frozen").on(plm)
        phi = fit(delta, encoded, steps=24, **SETTINGS).phi
        gates = [part for name, part in delta.layout.unflatten(phi).items() if name.endswith(".gate")]
        return 5.0 - scale * min(float(gate.min()) for gate in gates)

    assert 1.0 < fall(100.0) < 2.4
    assert fall(1.0) < 0.024


def test_a_delta_that_keeps_everything_is_fitted_once(plm, task):
    delta = BitFit().on(plm)
    encoded = task.encode(plm, max_length=8)
    kept, result = fit_and_prune(delta, encoded, steps=4, **SETTINGS)
    assert kept is delta
    assert torch.equal(result.phi, fit(delta, encoded, steps=4, **SETTINGS).phi)


def test_settings_of_one_space_are_refused(plm, task):
    delta = DiffPruning().on(plm)
    with pytest.raises(ValueError, match="keep_every is of one space"):
        fit_and_prune(delta, task, steps=4, keep_every=1, **SETTINGS)
    with pytest.raises(ValueError, match=r"final_share must lie in \[0, 1\); got 1"):
        fit_and_prune(delta, task, steps=4, final_share=1, **SETTINGS)
