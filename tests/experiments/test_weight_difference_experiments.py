"""Parts of the experiments on weight differences whose answer is known: scaling, solutions, mitigation, pairs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from experiments import intruder_time, intruders, subspace_similarity, weight_differences
from lab.deltas import FullFineTuning
from lab.execution import Local
from lab.geometry.intruder_tables import scaled
from lab.geometry.studied_matrices import neighbours
from lab.models.tiny import tiny_plm
from lab.runs import Store, key
from lab.study import TRAINING_RUN, Lab, TrainingRun, measured, solution
from lab.study.training_run import solutions

FIXED = {"model": "tiny-bert", "task": "bbc-news", "steps": 2, "batch_size": 8, "max_length": 16, "n_train": 64,
         "n_validation": 32, "seed": 0}  # fmt: skip
FULL, LORA = (TrainingRun(method=m, **FIXED) for m in ({"method": "full"}, {"method": "lora", "rank": 2}))


@pytest.fixture
def lab(tmp_path):
    return Lab(Local(Store(tmp_path / "runs"), progress=False))


def test_a_small_solution_is_a_record_and_scores_the_same(lab):
    found = solution(LORA, lab)
    assert lab.store.has(TRAINING_RUN.job(LORA))
    assert torch.equal(solution(LORA, lab).phi, found.phi)
    score = LORA.score_of(found.delta.plm, found.delta.overrides(found.phi))
    assert score == pytest.approx(found.metrics["score"])


def test_a_large_solution_is_held_by_the_process(lab, monkeypatch):
    monkeypatch.setattr("lab.study.training_run.KEEP_PHI", 0)
    found = solution(FULL, lab)
    assert solution(FULL, lab) is found
    assert not lab.store.has(TRAINING_RUN.job(FULL))
    score = FULL.score_of(found.delta.plm, found.delta.overrides(found.phi))
    assert score == pytest.approx(found.metrics["score"])


def test_solutions_are_those_of_each_run_in_their_order(lab, monkeypatch):
    """Of the small ones, trained together, and of a large one between them."""
    monkeypatch.setattr("lab.study.training_run.KEEP_PHI", 10_000)
    runs = [LORA, FULL, replace(LORA, seed=1)]
    found = solutions(runs, lab)
    assert [lab.store.has(TRAINING_RUN.job(run)) for run in runs] == [True, False, True]
    for run, one in zip(runs, found, strict=True):
        assert torch.equal(one.phi, solution(run, lab).phi)
        assert one.delta.size == len(one.phi)


def test_with_three_splits_a_solution_has_the_score_on_test_data(lab, monkeypatch):
    """A small one from its record, a large one from this process, and both as `score_of` their weights."""
    monkeypatch.setattr("lab.study.training_run.KEEP_PHI", 10_000)
    for kept in (LORA, FULL):
        run = replace(kept, splits=3, n_test=40)
        found = solution(run, lab)
        test = run.data.test
        assert (run.judged, len(test)) == ("test", 40)
        score = run.score_of(found.delta.plm, found.delta.overrides(found.phi))
        assert found.metrics["score"] == pytest.approx(score)
        assert 40 * score == pytest.approx(round(40 * score)), "an accuracy over the test examples"


def test_strength_scales_all_but_the_new_head():
    plm = tiny_plm("bert")
    delta = FullFineTuning().on(plm)
    overrides = delta.overrides(torch.ones(delta.size, dtype=torch.float64))
    for t in (0.0, 1.0, 3.0):
        for name, value in scaled(plm, overrides, t).items():
            expected = overrides[name] if name in plm.new_names else plm.parameters[name] + t
            torch.testing.assert_close(value, expected)


def test_what_is_mitigated_with_lambda_one_is_the_strength_itself(lab):
    job, _ = intruders.EXPERIMENT.jobs("smoke")
    (record,) = lab.engine.run([job], measured)
    mitigation, strengths = record.tables["intruder_mitigation"], record.tables["intruder_strength"]
    kept = mitigation[mitigation["lambda"] == 1.0].iloc[0]
    at = strengths[strengths["strength"] == kept["strength"]].iloc[0]
    assert kept["intruders"] == kept["mitigated"] == at["intruders"]
    assert kept["score"] == at["score"]
    assert set(record.tables["intruders"]["kind"]) == {"tuned", "random"}
    assert intruders.EXPERIMENT.configs("demo")[0].k == 10


def test_many_blocks_are_studied_in_pairs_of_neighbours():
    matrices = tiny_plm("bert").matrices(("query", "value"))
    assert neighbours(matrices, None) == list(matrices)
    assert {m.block for m in neighbours(matrices, 2)} == {0, 1}


def test_the_runs_of_the_experiments_are_shared():
    """A LoRA run has one key, whether spectra, subspaces or intruders are asked of it."""
    (lora, _) = (c for c in weight_differences.EXPERIMENT.configs("demo") if c.method["method"] == "lora")
    names = ("model", "task", "steps", "batch_size", "max_length", "n_train", "n_validation", "seed", "method", "lr")
    expected = key(TRAINING_RUN.job(TrainingRun(**{name: getattr(lora, name) for name in names})))
    assert key(TRAINING_RUN.job(subspace_similarity.EXPERIMENT.configs("demo")[0].runs[0])) == expected
    assert key(TRAINING_RUN.job(intruders.EXPERIMENT.configs("demo")[1].run)) == expected


def test_first_intruders_in_time_and_in_step_size_are_those_of_the_counted_steps(lab):
    record = lab.one(intruder_time.EXPERIMENT, *intruder_time.EXPERIMENT.configs("smoke", step_sizes=(0.01, 0.1, 1.0)))
    shares, onsets = record.tables["intruder_time"], record.tables["intruder_onset"]
    assert sorted(set(shares["step"])) == [1, 2, 3, 4]
    assert (onsets.groupby("run").size() == record.metrics["matrices"]).all()
    assert set(onsets["run"]) == {"η = 0.01", "η = 0.1", "η = 1", "4 steps"}
    assert (shares["low"] <= shares["forecast"]).all()
    assert (shares["forecast"] <= shares["high"]).all()
    for row in shares.to_dict("records"):
        _assert_seen(onsets, f"η = {row['step_size']:g}", row["step"], row["with_intruder"])
    last = shares[shares["step"] == 4]
    for row in last.to_dict("records"):
        _assert_seen(onsets, "4 steps", row["step_size"], row["with_intruder"])
    # at the largest step size every matrix is overwhelmed, at the smallest none moves
    assert last["with_intruder"].iloc[[0, -1]].tolist() == [0.0, 1.0]


def _assert_seen(onsets, run, at, share):
    """All that get their first intruder here have one here; all that have one here got their first by now."""
    seen = onsets.loc[onsets["run"] == run, "seen"]
    assert (seen == at).mean() <= share <= (seen <= at).mean()
