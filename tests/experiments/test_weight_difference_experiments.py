"""Parts of the experiments on weight differences whose answer is known: scaling, solutions, mitigation, pairs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments import intruder_time, intruders, subspace_similarity, weight_differences
from lab.deltas import FullFineTuning
from lab.execution import Local
from lab.figures import WEIGHT_DIFFERENCE_SPECTRA
from lab.geometry import weight_difference_spectra
from lab.geometry.intruder_tables import scaled
from lab.geometry.studied_matrices import neighbours
from lab.models.tiny import tiny_plm
from lab.runs import Job, Record, Store, key
from lab.study import TRAINING_RUN, Finding, Lab, TrainingRun, measured, solution
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


def test_what_the_figure_counts_is_what_the_table_of_the_spectra_counts():
    """The values above the line of the sequential test are as many as the test found."""
    delta = FullFineTuning().on(tiny_plm("bert"))
    spike = torch.zeros(delta.size, dtype=delta.phi0.dtype)
    for part in delta.layout:
        if len(part.shape) == 2:
            noise = torch.randn(*part.shape, generator=torch.Generator().manual_seed(0), dtype=spike.dtype)
            spike[delta.layout.slices[part.name]] = (noise + 3 * torch.ones(part.shape, dtype=spike.dtype)).reshape(-1)
    spectra = weight_difference_spectra(delta, delta.phi0 + spike)
    drawn = weight_differences._drawn(spectra).assign(label="full")
    counted = WEIGHT_DIFFERENCE_SPECTRA.summarize(drawn).set_index("matrix")["above null [count]"]
    known = spectra.summary.set_index("matrix").n_above_null
    assert counted.tolist() == known[counted.index].tolist()
    assert counted.min() > 0


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
    assert set(record.tables["intruders"]["kind"]) == {"tuned", "random", "signs"}
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


def intruded(model: str, method: str, onset: float | None, table: pd.DataFrame) -> Finding:
    config = SimpleNamespace(model=model, task="t", seed=0, method={"method": method})
    return Finding(config, Record(Job("intruders", {}), {"median_onset_relative": onset}, {"intruder_forecast": table}))


def onsets(forecast: float, gaussian: float) -> pd.DataFrame:
    """Three matrices that get an intruder at strength 1, forecast and Gaussian level as given; one never does."""
    rows = [{"seen": seen, "forecast": forecast, "gaussian": gaussian} for seen in (1.0, 1.0, 1.0, np.inf)]
    return pd.DataFrame(rows)


def test_full_fine_tuning_is_compared_with_the_lora_of_its_own_plm_whatever_the_order_of_records():
    found = [
        intruded("a", "full", 8.0, onsets(1, 1)),
        intruded("b", "full", 6.0, onsets(1, 1)),
        intruded("b", "lora", 3.0, onsets(1, 1)),
        intruded("a", "lora", 1.0, onsets(1, 1)),
        intruded("c", "full", 1.0, onsets(1, 1)),
    ]
    earlier = intruders.claims(found)[0]
    assert earlier.measured.estimate == pytest.approx((np.log(8) + np.log(2)) / 2)
    assert (earlier.measured.n, earlier.unit) == (2, "PLMs")


def test_a_forecast_is_worth_by_how_much_its_level_is_nearer_than_that_of_a_gaussian():
    """Off by a factor of 1.1 against a factor of 2; a forecast that is no nearer adds nothing, whatever its order."""
    good = [intruded(m, "lora", None, onsets(1.1, 0.5)) for m in "abcde"]
    (level,) = intruders.claims(good)
    assert level.measured.estimate == pytest.approx(np.log(2) - np.log(1.1))
    assert level.answer == "holds here"
    (idle,) = intruders.claims([intruded(m, "lora", None, onsets(2.0, 0.5)) for m in "abcde"])
    assert idle.measured.estimate == pytest.approx(0, abs=1e-12)


def test_runs_at_several_step_sizes_are_one_training():
    order = [1.0, 2.0, 3.0, 4.0, 5.0]
    rows = [
        {"along": "training time", "model": model, "label": "LoRA", "run": run, "matrix": str(i), "forecast": value,
         "extrapolated": value, "seen": 10 * value, "before": 5 * value}
        for model in "ab"
        for run in ("η = 1", "η = 2", "η = 3")
        for i, value in enumerate(order if run != "η = 3" else order[:3])
    ]  # fmt: skip
    config = SimpleNamespace(model="a", task="t")
    found = intruder_time.claims([Finding(config, Record(Job("x", {}), {}, {"intruder_onset": pd.DataFrame(rows)}))])
    assert [(v.measured.estimate, v.measured.n) for v in found] == [(pytest.approx(1.0), 2)] * 2
    assert {v.unit for v in found} == {"trainings (PLM and method)"}


def test_an_update_without_size_amplifies_nothing():
    """What it acts on is as little emphasised as any direction, but ‖ΔW‖ = 1e-6 makes the factor small: on one PLM of
    two, which is enough against "on every PLM"."""

    def finding(model: str, size: float) -> Finding:
        metrics = {f"seeds_{side}_{k}_pair{n}": 2 + n / 10 for side in SIDES for k in (1, 8) for n in range(10)}
        metrics |= {f"ranks_{side}_1": 0.1 for side in SIDES}
        for seed in range(5):
            metrics[f"onto_random_lora8_seed{seed}"] = 1.01 + seed / 100
            metrics[f"onto_base_lora8_seed{seed}"] = 0.05 + seed / 1000
            metrics[f"amplification_lora8_seed{seed}"] = size * (1 + seed / 10)
        config = replace(subspace_similarity.EXPERIMENT.configs("demo")[0], model=model)
        return Finding(config, Record(Job("x", {}), metrics))

    found = {v.claim: v for v in subspace_similarity.claims([finding("minilm", 9.0), finding("smollm2", 1e-6)])}
    amplified = found["ΔW amplifies the directions in which it acts, on every PLM."]
    assert (amplified.answer, amplified.measured.n) == ("does not hold here", 5)
    assert amplified.measured.estimate == pytest.approx(1.2e-6)
    where = "The directions in which ΔW acts are not emphasised in W₀: nearer to random ones than to W₀'s first."
    assert found[where].answer == "holds here"


def test_ranks_are_compared_over_tasks_and_one_task_bounds_nothing():
    def finding(model: str, task: str, overlap: float) -> Finding:
        metrics = {f"seeds_{side}_{k}_pair{n}": 2 + n / 10 for side in SIDES for k in (1, 8) for n in range(3)}
        metrics |= {f"ranks_{side}_1": overlap for side in SIDES}
        for seed in range(3):
            metrics |= {f"onto_random_lora8_seed{seed}": 1.01 + seed / 100, f"onto_base_lora8_seed{seed}": 0.05}
            metrics[f"amplification_lora8_seed{seed}"] = 1 + seed / 10
        config = replace(subspace_similarity.EXPERIMENT.configs("demo")[0], model=model, task=task)
        return Finding(config, Record(Job("x", {}), metrics))

    claim = "The first direction of the inputs is the same for a small and a large rank (overlap above ½)."
    two = [finding(model, "a", 0.1) for model in ("minilm", "smollm2")]
    more = [finding("minilm", task, 0.1 + i / 100) for i, task in enumerate("bcd")] + [finding("smollm2", "b", 0.2)]
    alone, several = ({v.claim: v for v in subspace_similarity.claims(found)}[claim] for found in (two, two + more))
    assert (alone.answer, alone.measured.low, alone.measured.high) == ("cannot tell", -np.inf, np.inf)
    assert (several.answer, several.measured.n) == ("does not hold here", 6)
    assert several.measured.estimate == pytest.approx((0.1075 + 0.15) / 2)  # PLMs count alike


SIDES = ("inputs", "outputs")
