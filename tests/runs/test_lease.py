"""A job is one process's at a time, and free when that process was killed."""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lab.runs import Job, Record, Store, StoreError, key
from lab.runs.lease import leased
from lab.runs.staging import STAGING, lease_file

PROGRAM = Path(__file__).with_name("one_child.py")


def program():
    spec = importlib.util.spec_from_file_location("one_child", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(store: Store, log: Path, name: str, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(PROGRAM), str(store.path), str(log), name, str(seconds)])


def begun(log: Path) -> None:
    deadline = time.monotonic() + 60
    while not log.exists():
        assert time.monotonic() < deadline, "the first program did not begin"
        time.sleep(0.01)


def test_a_child_that_two_parents_want_is_measured_once(tmp_path):
    store, log = Store(tmp_path / "runs"), tmp_path / "log"
    both = [started(store, log, name, seconds=4) for name in "ab"]
    assert [process.wait() for process in both] == [0, 0]
    assert log.read_text() in ("a", "b")
    assert [store.get(program().parent(name)).metrics["child"] for name in "ab"] == [log.read_text()] * 2
    assert list((store.path / STAGING).iterdir()) == []


def test_the_leases_of_a_killed_process_are_free(tmp_path):
    store, log = Store(tmp_path / "runs"), tmp_path / "log"
    first = started(store, log, "a", seconds=100)
    begun(log)
    second = started(store, log, "b", seconds=0)
    time.sleep(3)
    assert second.poll() is None, "it waits"
    assert log.read_text() == "a"
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert second.wait() == 0
    assert log.read_text() == "ab"
    assert store.get(program().CHILD).metrics["by"] == "b"


def test_one_holder_at_a_time_though_the_file_comes_and_goes(tmp_path):
    """Four processes add one to the number in a file that has no lock of its own."""
    number = tmp_path / "number"
    number.write_text("0")

    def adds() -> int:
        pid = os.fork()
        if pid == 0:
            try:
                for _ in range(100):
                    with leased(tmp_path / "lease"):
                        number.write_text(str(int(number.read_text()) + 1))
            finally:
                os._exit(0)
        return pid

    for pid in [adds() for _ in range(4)]:
        os.waitpid(pid, 0)
    assert number.read_text() == "400"
    assert not (tmp_path / "lease").exists()


def test_the_next_writer_removes_leases_that_nobody_holds(tmp_path):
    store = Store(tmp_path)
    held, left = (lease_file(tmp_path, name) for name in ("a" * 64, "b" * 64))
    left.touch()
    with leased(held):
        store.put(Record(Job("child", {"i": 1}), {}))
        assert list(held.parent.iterdir()) == [held]


def test_a_file_system_without_locks_lets_everyone_work(tmp_path, monkeypatch):
    def none(descriptor: int, operation: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", none)
    with leased(tmp_path / "lease"), leased(tmp_path / "lease"):
        pass


def test_a_store_that_cannot_be_written_says_so_before_the_work(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / STAGING).write_text("in the way")
    with pytest.raises(StoreError, match="cannot write to"), Store(tmp_path / "runs").lease(Job("child", {"i": 1})):
        pass


def test_what_lies_in_a_records_place_is_said_before_the_work(tmp_path):
    store, job = Store(tmp_path), Job("child", {"i": 1})
    folder = tmp_path / "child" / key(job)[:2] / key(job)
    folder.mkdir(parents=True)
    with store.lease(job) as missing:
        assert missing
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"is no record \(it has no manifest.json\); delete it"), store.lease(job):
        pass


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_file_in_the_way_of_a_record_is_named_before_the_work(tmp_path, depth):
    store, job = Store(tmp_path), Job("child", {"i": 1})
    file = tmp_path.joinpath(*("child", key(job)[:2], key(job))[:depth])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    with pytest.raises(StoreError, match=f"{file} is a file where a folder of records belongs; move"), store.lease(job):
        pass
    assert file.read_text() == "mine"


def test_who_waits_long_says_for_what(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lab.runs.lease.SAID_AFTER", 0.05)
    store, job = Store(tmp_path), Job("child", {"i": 1})
    with store.lease(job):
        assert capsys.readouterr().err == "", "who does not wait says nothing"
        waits = threading.Thread(target=lambda: store.lease(job).__enter__(), daemon=True)
        waits.start()
        waits.join(0.5)
        assert waits.is_alive()
    waits.join(10)
    assert not waits.is_alive()
    said = capsys.readouterr().err
    assert said == f"another process works on child {key(job)[:12]}: i=1; waiting until it ends ...\n"


def test_a_short_wait_is_not_told(tmp_path):
    told = threading.Event()
    with leased(tmp_path / "lease"):
        waits = threading.Thread(target=lambda: leased(tmp_path / "lease", told.set).__enter__(), daemon=True)
        waits.start()
        waits.join(0.2)
    waits.join(10)
    assert not told.is_set()
