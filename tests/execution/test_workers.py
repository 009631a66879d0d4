from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from itertools import pairwise
from pathlib import Path

import pytest

from lab.execution import Local, RunsFailed
from lab.execution.workers import Workers
from lab.runs import Store

HERE = Path(__file__).parent


@pytest.fixture
def crew(monkeypatch):
    """`crew_jobs`, importable here and in the workers."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    import crew_jobs

    return crew_jobs


def begun(folder: Path, name: str) -> int:
    return (folder / name).stat().st_size


def overlap(records) -> bool:
    spans = sorted((r.metrics["began"], r.metrics["ended"]) for r in records)
    return any(later < end for (_, end), (later, _) in pairwise(spans))


def test_children_of_one_parent_run_side_by_side_and_are_those_of_the_local_engine(tmp_path, crew, capsys):
    store = Store(tmp_path / "runs")
    (record,) = Workers(store, workers=2, command="deltalab run toy").run(
        [crew.parent(tmp_path, "a", [1, 2, 3, 4])], crew.measure, label="toy"
    )
    assert record.metrics["sum"] == 1 + 4 + 9 + 16
    children = list(store.records("child"))
    assert overlap(children)
    assert len({c.metrics["process"] for c in children} | {record.metrics["process"]}) >= 2
    assert os.getpid() not in {c.metrics["process"] for c in children}
    assert record.provenance["command"] == "deltalab run toy"
    assert "command" not in children[0].provenance  # it is the parents'
    assert "children of a: 4 of 4 done, 0 left" in capsys.readouterr().err
    (tmp_path / "elsewhere").mkdir()
    local = Local(Store(tmp_path / "local"), progress=False)
    (same,) = local.run([crew.parent(tmp_path, "a", [1, 2, 3, 4])], crew.measure)
    assert same.job == record.job
    assert same.metrics["sum"] == record.metrics["sum"]
    assert local.store.keys() == store.keys()


def test_a_child_that_two_parents_want_is_made_once_even_by_one_worker(tmp_path, crew):
    parents = [crew.parent(tmp_path, name, [1, 2]) for name in ("a", "b")]
    records = Workers(Store(tmp_path / "runs"), workers=1, progress=False).run(parents, crew.measure)
    assert [r.metrics["sum"] for r in records] == [5, 5]
    assert begun(tmp_path, "child 1") == begun(tmp_path, "child 2") == 1


def test_a_killed_parent_is_given_out_again_and_its_children_are_not_made_twice(tmp_path, crew):
    (record,) = Workers(Store(tmp_path / "runs"), workers=2, progress=False).run(
        [crew.parent(tmp_path, "a", [1, 2, 3], kill=True)], crew.measure
    )
    assert record.metrics["sum"] == 14
    assert begun(tmp_path, "parent a") == 2
    assert [begun(tmp_path, f"child {i}") for i in (1, 2, 3)] == [1, 1, 1]


def test_a_child_that_fails_is_named_once_and_the_others_are_kept(tmp_path, crew):
    store = Store(tmp_path / "runs")
    with pytest.raises(RunsFailed, match="no 13") as caught:
        Workers(store, workers=2, progress=False).run([crew.parent(tmp_path, "a", [1, 13, 2])], crew.measure)
    assert str(caught.value).count("no 13") == 1
    assert sorted(r.metrics["square"] for r in store.records("child")) == [1, 4]


def test_fewer_than_one_worker_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^workers is 0; expected at least 1$"):
        Workers(Store(tmp_path), workers=0)
    with pytest.raises(ValueError, match=r"^threads is 0; expected at least 1$"):
        Workers(Store(tmp_path), threads=0)


def test_ctrl_c_ends_the_workers_and_says_what_is_done(tmp_path, crew):
    """In a process of its own, as SIGINT goes to the terminal's whole group."""
    program = textwrap.dedent(f"""
        import signal
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(HERE)!r})
        import crew_jobs
        from lab.execution.workers import Workers
        from lab.runs import Store
        if __name__ == "__main__":
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would ignore it
            folder = Path({str(tmp_path)!r})
            jobs = [crew_jobs.parent(folder, str(i), list(range(10 * i, 10 * i + 9))) for i in range(20, 24)]
            Workers(Store({str(tmp_path / "runs")!r}), workers=2).run(jobs, crew_jobs.measure, label="toy")
    """)
    (script := tmp_path / "program.py").write_text(program)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    running = subprocess.Popen(
        [sys.executable, str(script)], stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    deadline = time.time() + 60
    while not list(tmp_path.glob("child *")) and time.time() < deadline:
        time.sleep(0.1)
    os.killpg(running.pid, 2)
    _, said = running.communicate(timeout=60)
    assert "Interrupted: interrupted: toy: 0 of 4 done, 4 left" in said
    counted = len(list(tmp_path.glob("child *")))
    time.sleep(1.5)
    assert len(list(tmp_path.glob("child *"))) == counted, "a worker went on after Ctrl-C"
