from __future__ import annotations

import importlib
import os
import signal
import sys
import types
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
import torch

from experiments import performance
from lab.execution import Engine, Local, RunsFailed
from lab.execution.ray import Ray
from lab.execution.workers import Workers
from lab.models.tiny import tiny_plm
from lab.runs import Job, Record, Store
from lab.study import Lab, load_experiment, measured
from lab.study.comparison import compared_runs


def test_without_ray_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"needs ray, which is not installed; pip install 'deltalab\[ray\]'"):
        Ray(Store(tmp_path))


class Cluster(types.ModuleType):
    """Stands for the module ray: a cluster of two machines, of which the one with a GPU is dead."""

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, object]]:
        return [{"Alive": True, "Resources": {"CPU": 4}}, {"Alive": False, "Resources": {"CPU": 8, "GPU": 1}}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpus": 5}, "cpus is 5; expected 0 to 4, the most that one machine here has"),
        ({"cpus": -1}, "cpus is -1; expected 0 to 4"),
        ({"gpus": 0.5}, "gpus is 0.5; expected 0 to 0"),
    ],
)
def test_what_no_machine_has_is_refused(monkeypatch, tmp_path, options, message):
    monkeypatch.setitem(sys.modules, "ray", Cluster("ray"))
    with pytest.raises(ValueError, match=message):
        Ray(Store(tmp_path), **options)


def test_an_address_where_nothing_answers_is_refused_at_once(monkeypatch, tmp_path):
    cluster = Cluster("ray")
    monkeypatch.setattr(cluster, "is_initialized", lambda: False)
    monkeypatch.setitem(sys.modules, "ray", cluster)
    with pytest.raises(ValueError, match=r"no Ray cluster answers at address '127.0.0.1:9' .*ray start --head"):
        Ray(Store(tmp_path), address="127.0.0.1:9")


@pytest.fixture
def ray(monkeypatch):
    """The real one, with a cluster of two processors for the test, whose workers are as nice as we are."""
    monkeypatch.setenv("RAY_worker_niceness", "0")
    ray = importlib.import_module("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_is_replaced_and_a_failure_is_named(tmp_path, ray):
    def measure(job: Job, engine: Engine) -> Record:
        i, attempts = job.config["i"], tmp_path / f"attempts{job.config['i']}"
        with attempts.open("a") as file:
            file.write("x")
        if i == 3 and attempts.stat().st_size == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if i == 5:
            raise ZeroDivisionError("no 5")
        return Record(job, {"square": i * i, "process": os.getpid()})

    store = Store(tmp_path / "runs")
    jobs = [Job("toy", {"i": i}) for i in range(6)]
    engine = Ray(store, command="deltalab run toy", progress=False)
    with pytest.raises(RunsFailed, match="1 of 6 failed, 5 done and stored") as caught:
        engine.run(jobs, measure)
    assert isinstance(caught.value.failures[0].error, ZeroDivisionError)
    records = engine.run(jobs[:5], measure)
    assert [record.metrics["square"] for record in records] == [0, 1, 4, 9, 16]
    assert os.getpid() not in {record.metrics["process"] for record in records}
    assert records[0].provenance["command"] == "deltalab run toy"
    assert [(tmp_path / f"attempts{i}").read_text() for i in range(6)] == ["x", "x", "x", "xx", "x", "x"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_weights_of_a_plm_are_read_once_and_outlive_the_worker_that_read_them(tmp_path, ray):
    tiny_plm("bert", dtype=torch.float32).model.save_pretrained(folder := tmp_path / "plm")
    reads, attempts = tmp_path / "reads", tmp_path / "attempts"

    def measure(job: Job, engine: Engine) -> Record:
        from lab.models import checkpoint, load_plm

        read = checkpoint.read_tensors

        def logged(file):
            with reads.open("a") as log:
                log.write("x")
            return read(file)

        checkpoint.read_tensors = logged
        try:
            total = sum(float(p.double().sum()) for p in load_plm(folder).parameters.values())
        finally:
            checkpoint.read_tensors = read
        with attempts.open("a") as file:
            file.write("x")
        if attempts.stat().st_size == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return Record(job, {"total": total})

    engine = Ray(Store(tmp_path / "runs"), progress=False, cpus=2)  # one after the other: there are two processors
    records = engine.run([Job("sum", {"i": i}) for i in range(3)], measure)
    assert {record.metrics["total"] for record in records} == {measure(records[0].job, engine).metrics["total"]}
    assert attempts.read_text() == "xxxx" + "x"
    assert reads.read_text() == "x" + "x", "once on Ray, once here"


CLOCK = ["seconds", "train_seconds", "peak_memory", "process"]
"""What a clock or the machine decides, not the job."""


@pytest.fixture
def tiny_folder(tmp_path):
    """A tiny PLM on disk, without a head."""
    plm = tiny_plm("bert", dtype=torch.float32)
    plm.model.base_model.save_pretrained(folder := tmp_path / "plm")
    plm.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", ["tiny", "minilm"])
def test_training_gives_the_same_numbers_on_both_engines(tmp_path, ray, tiny_folder, model):
    """Four methods on two tasks; on Ray a worker is killed in the middle of its search, which goes on after it.

    The two parents run side by side and want the same search for step sizes.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as Ray gives a job that reserves one processor
    methods = ("full fine-tuning", "LoRA", "prefix", "linear probe")
    made = performance.EXPERIMENT
    jobs = made.jobs("smoke", model=tiny_folder if model == "tiny" else model, methods=methods)
    local, remote = Store(tmp_path / "local"), Store(tmp_path / "ray")
    try:
        Local(local, progress=False).run(jobs, measured)
    finally:
        torch.set_num_threads(threads)

    def measure(job: Job, engine: Engine) -> Record:
        attempts = tmp_path / f"attempts of {job.config['task']}"
        with attempts.open("a") as file:
            file.write("x")
        if job == jobs[0] and attempts.stat().st_size == 1:
            c = made.finding(Record(job, {})).config
            compared_runs(replace(c, methods=c.methods[:2]), Lab(engine))
            os.kill(os.getpid(), signal.SIGKILL)
        return measured(job, engine)

    engine = Ray(remote, progress=False)
    records = engine.run(jobs, measure)
    assert [(tmp_path / f"attempts of {job.config['task']}").read_text() for job in jobs] == ["xx", "x"]
    assert [record.job for record in records] == jobs
    assert remote.keys() == local.keys()
    assert len(remote.keys("training_run")) == 4 * 2
    for name in local.keys():  # noqa: SIM118 - a store is no mapping
        mine, theirs = local.get(name), remote.get(name)
        assert mine.provenance["threads"] == theirs.provenance["threads"] == 1
        same = [n for n in mine.metrics if n not in CLOCK]
        assert {n: theirs.metrics[n] for n in same} == {n: mine.metrics[n] for n in same}
        for table_name, table in mine.tables.items():
            drop = [column for column in CLOCK if column in table]
            pd.testing.assert_frame_equal(theirs.tables[table_name].drop(columns=drop), table.drop(columns=drop))

    before = [remote.manifest(job).provenance for job in jobs]
    assert [record.provenance for record in engine.run(jobs, measure)] == before, "a second run measures nothing"
    assert (tmp_path / f"attempts of {jobs[1].config['task']}").read_text() == "x"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["ray", "workers"])
def test_the_children_of_one_search_run_side_by_side(tmp_path, ray, kind):
    """One job, two processors, one processor a child: the parent gives its own back while it waits."""
    jobs = load_experiment("intrinsic_dimension").jobs("smoke", seeds=(0, 1), baseline_seeds=(0, 1))
    store = Store(tmp_path / "runs")
    engine = Ray(store, progress=False, cpus=1) if kind == "ray" else Workers(store, workers=2, progress=False)
    (record,) = engine.run(jobs, measured)
    spans = sorted((m.provenance["started"], m.provenance["ended"]) for m in store.manifests("training_run"))
    assert len(spans) >= 8
    assert any(later <= end for (_, end), (later, _) in pairwise(spans))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        (same,) = Local(Store(tmp_path / "local"), progress=False).run(jobs, measured)
    finally:
        torch.set_num_threads(threads)
    known = [name for name in same.metrics if name not in CLOCK]
    assert {n: record.metrics[n] for n in known} == {n: same.metrics[n] for n in known}
    assert Store(tmp_path / "local").keys() == store.keys()
