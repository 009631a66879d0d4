"""Every experiment: what it says of itself, jobs at every scale, a smoke run, its figures, and that a second run
computes nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lab.cli import app
from lab.execution import Local
from lab.figures import figure
from lab.runs import Job, Record, Store, key, tabulate
from lab.study import (
    SCALES,
    TRAINING_RUN,
    TrainingRun,
    experiment_drawing,
    experiment_names,
    load_experiment,
    measured,
    outlines,
    settings_of,
    verdicts_of,
    with_columns,
)
from lab.study.again import CONTENT, again
from lab.study.settings import Settings, expected, meaning, types_of


def role(entry: Field[Any]) -> str:
    return meaning(entry).role


NAMES = experiment_names()
GALLERY = Store(Path(__file__).parents[2] / "gallery")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def test_there_are_experiments():
    assert len(NAMES) >= 27


@pytest.mark.parametrize("outline", outlines(), ids=lambda outline: outline.name)
def test_the_outline_read_without_importing_is_the_experiment(outline):
    experiment = load_experiment(outline.name)
    assert (experiment.name, experiment.question, experiment.figures, experiment.view, bool(experiment.scales)) == (
        outline.name, outline.question, outline.figures, outline.view, outline.scaled
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_says_what_it_is(name):
    experiment = load_experiment(name)
    assert set(experiment.scales) == set(SCALES)
    for entry in ("question", "varied", "tuned", "fixed", "cost"):
        assert getattr(experiment, entry), entry
    for drawn in experiment.figures:
        assert figure(drawn).name == drawn
    configured = {entry.name: meaning(entry).help for entry in fields(experiment.config)}
    assert all(configured.values()), configured
    names = {entry.name for entry in fields(experiment.config)}
    assert set(experiment.replicates) <= names


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", SCALES)
def test_jobs_are_distinct_and_the_same_every_time(name, scale):
    experiment = load_experiment(name)
    jobs = experiment.jobs(scale)
    assert jobs
    keys = [key(job) for job in jobs]
    assert len(set(keys)) == len(keys)
    assert keys == [key(job) for job in experiment.jobs(scale)]
    assert all(job.experiment == name for job in jobs)
    for job in jobs:
        assert experiment.job(experiment.config.from_json(job.config)) == job


@pytest.mark.parametrize("name", [outline.name for outline in outlines()])
def test_every_record_of_the_gallery_keeps_its_key(name):
    """Typed configs write the JSON that the records were keyed by, field for field."""
    experiment = load_experiment(name)
    for manifest in GALLERY.manifests(name):
        asked = {name: value for name, value in manifest.job.config.items() if name != CONTENT}  # not of this machine
        assert experiment.config.from_json(manifest.job.config).to_json() == asked
        assert key(manifest.job) == manifest.key


@pytest.mark.parametrize("name", NAMES)
def test_what_is_trained_for_a_paper_is_scored_on_examples_that_chose_nothing(name):
    """Every config that trains says three splits at that scale."""
    for c in load_experiment(name).configs("paper"):
        assert getattr(c, "splits", 3) == 3, f"{name} at the scale paper: set splits=3"


@pytest.mark.parametrize("name", NAMES)
def test_scales_are_never_judged_together(name):
    experiment = load_experiment(name)
    records = [Record(job, {"scale": scale}) for scale in SCALES[:2] for job in experiment.jobs(scale)]
    for together in settings_of(records, experiment.replicates):
        assert len({record.metrics["scale"] for record in together}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_smoke_run_is_stored_told_and_drawn(name, store):
    experiment = load_experiment(name)
    jobs = experiment.jobs("smoke")
    records = Local(store, progress=False).run(jobs, measured)
    for drawn in map(figure, experiment.figures):
        table = tabulate([store.manifest(job) for job in jobs], drawn.table)
        assert drawn.draw(table).data
        assert len(drawn.answer(table).table)
    for verdict in verdicts_of(experiment, records):
        assert figure(verdict.figure).name == verdict.figure

    def forbidden(job, engine):
        raise AssertionError("a finished job was measured again")

    again = Local(store, progress=False).run(jobs, forbidden)
    assert [record.metrics for record in again] == [record.metrics for record in records]


@pytest.fixture
def jobs_of(monkeypatch):
    """Command -> the jobs that the command line hands to its engine; nothing is run."""
    asked: list[Job] = []

    class Asked:
        def run(self, jobs, measure, label=""):
            asked[:] = jobs
            raise typer.Exit(0)

    monkeypatch.setattr("lab.commands.run.start_engine", lambda *given, **options: Asked())

    def given(command: str) -> list[Job]:
        program, *words = shlex.split(command)
        done = CliRunner().invoke(app, words)
        assert (program, done.exit_code) == ("deltalab", 0), done.output
        return list(asked)

    return given


@pytest.mark.parametrize("name", [outline.name for outline in outlines()])
def test_a_printed_command_asks_for_the_job_it_stands_beside(name, jobs_of):
    """At every scale, and for the gallery's records: what "Reproduce this" shows has the record's key."""
    experiment = load_experiment(name)
    jobs = [job for scale in experiment.scales for job in experiment.jobs(scale)[:2]]
    known = [manifest.job for manifest in GALLERY.manifests(name) if CONTENT not in manifest.job.config]
    for job in (*jobs, *known[:: max(1, len(known) // 4)]):
        assert [key(made) for made in jobs_of(again(name, job.config))] == [key(job)]


@pytest.mark.parametrize("name", [outline.name for outline in outlines()])
def test_the_command_kept_in_a_record_makes_it_again(name, store, tmp_path):
    """One record per experiment, parts of others included; what is in the store is not measured again."""
    manifests = list(store.manifests(name))
    if not manifests:
        pytest.skip(f"no smoke run makes a record of {name}")
    manifest = manifests[0]
    words = shlex.split(manifest.provenance["command"])
    assert words[:3] == ["deltalab", "run", name]
    done = CliRunner().invoke(app, [*words[1:], "--store", str(store.path), "--quiet"])
    assert done.exit_code == 0, done.output
    assert store.keys(name) == [m.key for m in manifests]


SIZES = {"steps": 3, "n_train": 21, "n_validation": 19, "max_length": 9, "batch_size": 5}
ON_A_TASK = [name for name in NAMES if any(role(e) == "task" for e in fields(load_experiment(name).options("smoke")))]
UNTRAINED = ("finite_reach",)
"""Experiments on a task's sentences that train nothing: what they measure is there at the start."""


def test_what_trains_nothing_has_no_steps():
    for name in UNTRAINED:
        assert not {"steps", "lr"} & load_experiment(name).options("smoke").options().keys()


@pytest.mark.parametrize("name", [name for name in ON_A_TASK if name not in UNTRAINED])
def test_steps_and_sizes_can_be_given_wherever_something_is_trained(name):
    experiment = load_experiment(name)
    given = experiment.options("smoke").read({size: str(value) for size, value in SIZES.items()})
    asked = [config.to_json() for config in experiment.configs("smoke", **given)]
    for option, value in given.items():
        assert value in [found for config in asked for found in values(config, option)], option


@pytest.mark.parametrize("name", [name for name in ON_A_TASK if name not in UNTRAINED])
@pytest.mark.parametrize(("option", "value", "least"), [("steps", 0, 1), ("n_validation", 1, 2)])
def test_what_can_only_give_nonsense_is_refused(name, option, value, least):
    experiment = load_experiment(name)
    given = experiment.options("smoke").read({option: str(value)})
    with pytest.raises(ValueError, match=rf"--\S+ is {value}; expected at least {least}"):
        experiment.configs("smoke", **given)


def values(config: Any, name: str) -> Iterator[Any]:
    """What a config, or a part of it, has under a name."""
    for entry, value in config.items() if isinstance(config, Mapping) else enumerate(config):
        if entry == name:
            yield value
        if isinstance(value, (Mapping, list)):
            yield from values(value, name)


@pytest.mark.parametrize("name", ON_A_TASK)
@pytest.mark.parametrize("scale", SCALES)
def test_every_task_of_an_experiment_can_be_a_file_with_columns_of_any_name(name, scale, tmp_path):
    files = [tmp_path / f"{i}.csv" for i in range(4)]  # as many as a collection needs, and an unseen one
    for file in files:
        file.write_text("a,b\n" + "".join(f"{file.stem} {i},{i % 2}\n" for i in range(100)))
    experiment = load_experiment(name)
    options = experiment.options(scale)
    given = {e.name: many(options, e.name, files) for e in fields(options) if role(e) == "task"}
    configs = experiment.configs(scale, **with_columns(options, options.read(given), "a", "b"))
    assert configs
    asked = {f"{file}?text=a&label=b" for file in files}
    assert {task for config in configs for task in config.named("task")} <= asked
    assert experiment.job(configs[0]).config["content"].keys() & asked


def many(options: type[Settings], option: str, files: Sequence[Path]) -> str:
    """What is written for an option: all files for `tasks`, one of them for another."""
    several = option == "tasks" and "joined by commas" in expected(types_of(options)[option])
    return ",".join(map(str, files)) if several else str(files[-1])


def test_the_experiment_that_draws_a_figure_is_found():
    assert experiment_drawing("weight_difference_spectra") == "weight_differences"
    assert experiment_drawing("no such figure") is None


def test_search_keeps_its_baselines_beside_the_curve(store):
    experiment = load_experiment("intrinsic_dimension")
    (record,) = Local(store, progress=False).run(experiment.jobs("smoke"), measured)
    kinds = set(record.tables["runs"]["kind"])
    assert {"full", "linear_probe", "subspace", "random_weights", "fit", "d90", "d90_low", "d90_high"} <= kinds
    subspace = record.tables["runs"].query("kind == 'subspace'")
    assert len(subspace) == record.metrics["evaluations"]
    assert record.metrics["line"] == pytest.approx(0.9 * record.metrics["full"])


def test_a_given_baseline_moves_the_line(store):
    experiment = load_experiment("intrinsic_dimension")
    (record,) = Local(store, progress=False).run(experiment.jobs("smoke", baseline=0.5), measured)
    assert record.metrics["line"] == pytest.approx(0.45)


def test_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="unknown scale 'huge'"):
        load_experiment("intrinsic_dimension").jobs("huge")


def test_any_delta_trains_in_a_random_subspace_of_its_own_vector(store):
    runs = [
        TrainingRun(
            model="tiny-bert", task="bbc-news", method={"method": "lora", "rank": 1}, seed=0, steps=2, batch_size=4,
            max_length=8, n_train=16, n_validation=8, subspace=d,
        )
        for d in (None, 7)
    ]  # fmt: skip
    whole, small = Local(store, progress=False).run([TRAINING_RUN.job(run) for run in runs], measured)
    assert "subspace" not in whole.job.config  # earlier records keep their keys
    assert small.metrics["tunable"] == len(small.arrays["phi"]) == 7
    delta = runs[1].analysed()
    assert delta.size == 7
    assert delta.inner.size == whole.metrics["tunable"]
    assert runs[0].how.title == "LoRA r = 1"


def test_verdicts_of_the_loss_experiments_are_of_their_records(store):
    for name, n in (("quadratic", 1), ("predicted_dimension", None)):
        experiment = load_experiment(name)
        records = Local(store, progress=False).run(experiment.jobs("smoke"), measured)
        found = verdicts_of(experiment, records)
        assert n is None or len(found) == n
        assert all(verdict.figure in experiment.figures for verdict in found)
