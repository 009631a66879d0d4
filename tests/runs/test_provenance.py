from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from lab.runs import Job, Record, environment, observe, provenance


def test_an_observed_record_says_when_how_long_and_in_how_much_memory():
    def measure() -> Record:
        time.sleep(0.05)
        return Record(Job("toy", {"seed": 3, "seeds": [1, 2], "data": {"seed": 9}, "seedling": 8}), {})

    found = observe(measure).provenance
    assert 0.05 <= found["seconds"] < 5
    assert found["started"] <= found["ended"]
    assert found["started"].endswith("+00:00")
    assert 10e6 < found["peak_memory_bytes"] < found["memory_bytes"]
    assert found["seeds"] == [1, 2, 3, 9]


def test_what_the_record_knows_itself_is_kept():
    record = Record(Job("toy", {}), {"x": 1}, provenance={"device": "H200", "seeds": [5], "note": "mine"})
    observed = observe(lambda: record)
    assert observed.metrics == {"x": 1}
    assert {name: observed.provenance[name] for name in record.provenance} == record.provenance


def test_the_environment_is_named():
    found = environment()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "numpy", "duckdb", "pyarrow"} <= set(found["packages"])
    assert found["device"]
    assert found["threads"] >= 1
    assert found["commit"] is None or len(found["commit"]) == 40


def test_nothing_in_it_names_the_host_or_a_path():
    text = repr(environment())
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text
    assert socket.gethostname() not in text


def test_a_checkout_names_its_commit(tmp_path):
    """The same file in a repository of its own, committed, then changed."""
    shutil.copy(provenance.__file__, tmp_path / "copied.py")
    ask = [sys.executable, "-B", "-c", "import copied; print(*copied._commit())"]

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def answer() -> list[str]:
        return subprocess.run(ask, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()

    assert answer() == ["None", "None"]
    git("init", "-q")
    assert answer() == ["None", "None"], "a repository that does not track the file says nothing about it"
    git("add", "copied.py")
    git("commit", "-q", "-m", "x")
    commit, dirty = answer()
    assert (len(commit), dirty) == (40, "False")
    (tmp_path / "copied.py").open("a").write("# changed")
    assert answer() == [commit, "True"]
