"""Every experiment: header, jobs at every scale, a smoke run, its figures, and that a second run computes nothing."""

from __future__ import annotations

import re

import pytest

from experiments import EXPERIMENTS
from lab.execution import Local
from lab.execution.experiment import SCALES, experiment_drawing, load_experiment, settings_of, summarized, verdicts_of
from lab.figures import figure
from lab.runs import Record, Store, key, tabulate

HEADER = ("Question", "Source", "Varied", "Tuned", "Fixed", "Expected", "Cost")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_header_answers_every_question(name):
    documentation = load_experiment(name).__doc__ or ""
    found = re.findall(r"^(\w+):", documentation, re.MULTILINE)
    assert [word for word in found if word in HEADER] == list(HEADER)


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("scale", SCALES)
def test_jobs_are_distinct_and_the_same_every_time(name, scale):
    jobs = load_experiment(name).jobs(scale)
    assert jobs
    keys = [key(job) for job in jobs]
    assert len(set(keys)) == len(keys)
    assert keys == [key(job) for job in load_experiment(name).jobs(scale)]
    assert all(job.experiment == name for job in jobs)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_scales_are_never_judged_together(name):
    experiment = load_experiment(name)
    records = [Record(job, {"scale": scale}) for scale in SCALES[:2] for job in experiment.jobs(scale)]
    for together in settings_of(records, getattr(experiment, "REPLICATES", ())):
        assert len({record.metrics["scale"] for record in together}) == 1


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_smoke_run_is_stored_told_and_drawn(name, store):
    experiment = load_experiment(name)
    jobs = experiment.jobs("smoke")
    records = Local(store, progress=False).run(jobs, experiment.measure)
    assert summarized(experiment, store, records) or records[0].metrics
    for drawn in map(figure, experiment.FIGURES):
        table = tabulate([store.manifest(job) for job in jobs], drawn.table)
        assert drawn.draw(table).data
        assert len(drawn.summarize(table))

    def forbidden(job, store):
        raise AssertionError("a finished job was measured again")

    again = Local(store, progress=False).run(jobs, forbidden)
    assert [record.metrics for record in again] == [record.metrics for record in records]


def test_the_experiment_that_draws_a_figure_is_found():
    assert experiment_drawing("weight_difference_spectra") == "weight_differences"
    assert experiment_drawing("no such figure") is None


def test_search_keeps_its_baselines_beside_the_curve(store):
    experiment = load_experiment("intrinsic_dimension")
    (record,) = Local(store, progress=False).run(experiment.jobs("smoke"), experiment.measure)
    kinds = set(record.tables["runs"]["kind"])
    assert {"full", "linear_probe", "subspace", "random_weights", "fit", "d90", "d90_low", "d90_high"} <= kinds
    subspace = record.tables["runs"].query("kind == 'subspace'")
    assert len(subspace) == record.metrics["evaluations"]
    assert record.metrics["line"] == pytest.approx(0.9 * record.metrics["full"])


def test_a_given_baseline_moves_the_line(store):
    experiment = load_experiment("intrinsic_dimension")
    (record,) = Local(store, progress=False).run(experiment.jobs("smoke", baseline=0.5), experiment.measure)
    assert record.metrics["line"] == pytest.approx(0.45)


def test_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="unknown scale 'huge'"):
        load_experiment("intrinsic_dimension").jobs("huge")


def test_any_delta_trains_in_a_random_subspace_of_its_own_vector(store):
    runs = load_experiment("training_run")
    shared = {"model": "tiny-bert", "task": "bbc-news", "method": {"method": "lora", "rank": 1}, "seed": 0, "steps": 2}
    jobs = [
        runs.training_job(**shared, batch_size=4, max_length=8, n_train=16, n_validation=8, subspace=d)
        for d in (None, 7)
    ]
    whole, small = Local(store, progress=False).run(jobs, runs.measure)
    assert "subspace" not in whole.job.config  # earlier records keep their keys
    assert small.metrics["tunable"] == len(small.arrays["phi"]) == 7
    delta = runs.analysed(small.job.config)
    assert delta.size == 7
    assert delta.inner.size == whole.metrics["tunable"]
    assert runs.method_label(whole.job.config["method"]) == "LoRA r = 1"


def test_verdicts_of_the_loss_experiments_are_of_their_records(store):
    for name, n in (("quadratic", 1), ("predicted_dimension", None)):
        experiment = load_experiment(name)
        records = Local(store, progress=False).run(experiment.jobs("smoke"), experiment.measure)
        found = verdicts_of(experiment, records)
        assert n is None or len(found) == n
        assert all(verdict.figure in experiment.FIGURES for verdict in found)
