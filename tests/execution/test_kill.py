"""Killed at random moments: no unreadable record, nothing finished computed again, the table of an undisturbed run."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lab.execution import Local
from lab.runs import Store, StoreError, key
from lab.runs.staging import STAGING

PROGRAM = Path(__file__).with_name("quick_jobs.py")
JOBS, KILLS = 120, 20


def quick():
    spec = importlib.util.spec_from_file_location("quick_jobs", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(store: Store, count: int, log: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), str(store.path), str(count), str(log)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        preexec_fn=as_at_a_terminal,
    )  # fmt: skip


def lives(child: int) -> bool:
    """Whether a process is there; its parent is told of its end at once."""
    try:
        os.kill(child, 0)
    except ProcessLookupError:
        return False
    return True


def as_at_a_terminal() -> None:
    """In the new process: a shell that ran these tests in the background would have it ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("how", "jobs_", "kills"),
    [
        pytest.param((signal.SIGKILL,), JOBS, KILLS, id="kill -9"),
        *(
            pytest.param(how, 1500, 200, id=name, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])
            for name, how in {
                "kill -9, hundreds": (signal.SIGKILL,),
                "SIGTERM": (signal.SIGTERM,),
                "SIGHUP": (signal.SIGHUP,),
                "Ctrl-C twice": (signal.SIGINT, signal.SIGINT),
            }.items()
        ),
    ],
)
def test_killed_at_random_moments(how, jobs_, kills, tmp_path):
    """Each child is killed a random time after it began its n-th measurement, n random: kills fall on work.

    The moments differ from run to run (the clock decides); what is asserted holds for all of them.
    """
    module, rng = quick(), np.random.default_rng(0)
    jobs = module.jobs(jobs_)
    store, log = Store(tmp_path / "runs"), tmp_path / "log"
    log.write_bytes(b"")
    killed = 0
    with started(store, jobs_, log) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for _ in range(kills):
            before, done = store.keys(), {job.config["i"] for job in jobs if store.has(job)}
            logged = log.stat().st_size
            program.stdin.write("run\n")
            program.stdin.flush()
            child = int(program.stdout.readline())
            begun = rng.integers(1, 7)
            while len(log.read_bytes()[logged:].split()) < begun and lives(child):
                time.sleep(0.0005)
            time.sleep(rng.uniform(0, 0.02))
            for one in how:
                with contextlib.suppress(ProcessLookupError):  # it had ended by itself, or by the first of two
                    os.kill(child, one)
                time.sleep(0.001 * (len(how) - 1))
            killed += int(program.stdout.readline()) != 0
            after = store.keys()
            assert set(before) <= set(after)
            assert done.isdisjoint(map(int, log.read_bytes()[logged:].split())), "something finished was computed again"
            for name in set(after) - set(before):
                store.get(name)  # verified: whole, every sha256 fits
        program.stdin.close()
    assert killed == kills, f"the run was over after {killed} kills: raise JOBS"

    Local(store, progress=False).run(jobs, module.logged(str(log)))
    begun = Counter(log.read_text().split())
    assert set(begun) == {str(i) for i in range(jobs_)}
    # a kill costs at most the measurement that was running
    assert sum(begun.values()) <= jobs_ + kills
    assert list((store.path / STAGING).iterdir()) == [], "the next writer removes what killed ones left"

    undisturbed = Store(tmp_path / "undisturbed")
    Local(undisturbed, progress=False).run(jobs, lambda job, _: module.measured(job))
    for name in ("metrics", "history"):
        ours, theirs = (s.table("quick", name).drop(columns="seconds") for s in (store, undisturbed))
        pd.testing.assert_frame_equal(ours, theirs)
    for job in jobs:
        np.testing.assert_array_equal(store.get(job).arrays["values"], module.measured(job).arrays["values"])


@pytest.mark.parametrize(
    ("count", "writers"), [(50, 4), pytest.param(300, 8, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_several_processes_fill_one_store(count, writers, tmp_path):
    """All run the same jobs at once: each record is there once, whole, and the rows are exact."""
    module = quick()
    store, log = Store(tmp_path / "runs"), tmp_path / "log"
    programs = [started(store, count, log) for _ in range(writers)]
    answers = [program.communicate("run\n")[0].split() for program in programs]
    assert [code for _, code in answers] == ["0"] * writers
    jobs = module.jobs(count)
    assert store.keys() == sorted(key(job) for job in jobs)
    assert list((store.path / STAGING).iterdir()) == []
    table = store.table("quick").sort_values("i", ignore_index=True)
    assert table["i"].tolist() == list(range(count))
    assert table["mean"].tolist() == [module.measured(job).metrics["mean"] for job in jobs]
    assert len(store.table("quick", "history")) == 20 * count
    begun = Counter(log.read_text().split())
    assert max(begun.values()) <= writers


@pytest.mark.parametrize("moments", [12, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_store_that_vanishes_is_said_and_the_next_run_is_whole(moments, tmp_path):
    """Somebody removes the folder during a measurement: what was in it is gone, and nothing else."""
    module = quick()
    jobs = module.jobs(5)
    for moment in range(moments):
        store = Store(tmp_path / str(moment))

        def measure(job, _, store=store, moment=moment):
            if job.config["i"] == moment % 5:
                shutil.rmtree(store.path, ignore_errors=True)
            return module.measured(job)

        with contextlib.suppress(StoreError):  # or the store is made again
            Local(store, progress=False).run(jobs, measure)
        Local(store, progress=False).run(jobs, lambda job, _: module.measured(job))
        assert store.keys() == sorted(key(job) for job in jobs)
        for job in jobs:
            assert store.get(job).metrics == module.measured(job).metrics
