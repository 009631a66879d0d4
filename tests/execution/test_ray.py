from __future__ import annotations

import importlib
import os
import signal
import sys
import types

import pytest

from lab.execution import RunsFailed
from lab.execution.ray import Ray
from lab.runs import Job, Record, Store


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
def ray():
    """The real one, with a cluster of two processors for the test."""
    ray = importlib.import_module("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_is_replaced_and_a_failure_is_named(tmp_path, ray):
    def measure(job: Job, store: Store) -> Record:
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
