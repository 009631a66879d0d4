"""Parts of the experiments on weight differences whose answer is known: scaling, solutions, mitigation, pairs."""

from __future__ import annotations

import pytest
import torch

from experiments.intruder_time import jobs as time_jobs
from experiments.intruder_time import measure as first_intruders
from experiments.intruders import SCALES, scaled
from experiments.intruders import jobs as intruder_jobs
from experiments.intruders import measure as find_intruders
from experiments.subspace_similarity import _studied
from experiments.training_run import solution, training_job, validation_score
from experiments.weight_differences import jobs as spectra_jobs
from lab.deltas import FullFineTuning
from lab.execution import Local
from lab.models.tiny import tiny_plm
from lab.runs import Job, Store, key

RUN = {"model": "tiny-bert", "task": "bbc-news", "steps": 2, "batch_size": 8, "max_length": 16, "n_train": 64,
       "n_validation": 32, "seed": 0}  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


def test_a_small_solution_is_a_record_and_scores_the_same(store):
    job = training_job(**RUN, method={"method": "lora", "rank": 2})
    run = solution(job, store)
    assert store.has(job)
    assert torch.equal(solution(job, store).phi, run.phi)
    score = validation_score(job, run.delta.plm, run.delta.overrides(run.phi))
    assert score == pytest.approx(run.metrics["score"])


def test_a_large_solution_is_held_by_the_process(store, monkeypatch):
    monkeypatch.setattr("experiments.training_run.KEEP_PHI", 0)
    job = training_job(**RUN, method={"method": "full"})
    run = solution(job, store)
    assert solution(job, store) is run
    assert not store.has(job)
    assert validation_score(job, run.delta.plm, run.delta.overrides(run.phi)) == pytest.approx(run.metrics["score"])


def test_strength_scales_all_but_the_new_head():
    plm = tiny_plm("bert")
    delta = FullFineTuning().on(plm)
    overrides = delta.overrides(torch.ones(delta.size, dtype=torch.float64))
    for t in (0.0, 1.0, 3.0):
        for name, value in scaled(plm, overrides, t).items():
            expected = overrides[name] if name in plm.new_names else plm.parameters[name] + t
            torch.testing.assert_close(value, expected)


def test_what_is_mitigated_with_lambda_one_is_the_strength_itself(store):
    (job, _) = intruder_jobs("smoke")
    (record,) = Local(store, progress=False).run([job], find_intruders)
    mitigation, strengths = record.tables["intruder_mitigation"], record.tables["intruder_strength"]
    kept = mitigation[mitigation["lambda"] == 1.0].iloc[0]
    at = strengths[strengths["strength"] == kept["strength"]].iloc[0]
    assert kept["intruders"] == kept["mitigated"] == at["intruders"]
    assert kept["score"] == at["score"]
    assert set(record.tables["intruders"]["kind"]) == {"tuned", "random"}
    assert SCALES["demo"][0].k == 10


def test_many_blocks_are_studied_in_pairs_of_neighbours():
    matrices = tiny_plm("bert").matrices(("query", "value"))
    assert _studied(matrices, None) == list(matrices)
    assert {m.block for m in _studied(matrices, 2)} == {0, 1}


def test_the_runs_of_the_experiments_are_shared():
    lora = next(job for job in spectra_jobs("demo") if job.config["method"]["method"] == "lora")
    shared = ("model", "task", "steps", "batch_size", "max_length", "n_train", "n_validation", "seed", "method", "lr")
    assert key(training_job(**{name: lora.config[name] for name in shared})) == key(
        type(lora)("training_run", lora.config)
    )


def test_first_intruders_in_time_and_in_step_size_are_those_of_the_counted_steps(store):
    (smoke,) = time_jobs("smoke")
    job = Job(smoke.experiment, {**smoke.config, "step_sizes": [0.01, 0.1, 1.0]})
    (record,) = Local(store, progress=False).run([job], first_intruders)
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
