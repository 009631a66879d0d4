from __future__ import annotations

import io
import pickle

import pytest
from rich.console import Console

from lab.execution import Engine, Interrupted, Local, RunsFailed
from lab.execution.progress import remaining, shown
from lab.runs import Job, Record, Store, StoreError, StoreFull


def jobs(count: int) -> list[Job]:
    return [Job("toy", {"i": i}) for i in range(count)]


class Counting:
    """Squares a number, counting the calls; some numbers fail."""

    def __init__(self, *failing: int) -> None:
        self.failing, self.calls = failing, 0

    def __call__(self, job: Job, engine: Engine) -> Record:
        self.calls += 1
        if job.config["i"] in self.failing:
            raise ZeroDivisionError(f"no {job.config['i']}")
        return Record(job, {"square": job.config["i"] ** 2})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "runs")


def test_records_come_in_the_order_of_the_jobs_and_equal_jobs_run_once(store):
    measure = Counting()
    asked = [*reversed(jobs(4)), jobs(4)[2]]
    records = Local(store, progress=False).run(asked, measure)
    assert [record.job for record in records] == asked
    assert [record.metrics["square"] for record in records] == [9, 4, 1, 0, 4]
    assert measure.calls == 4


def test_a_second_run_measures_only_what_is_missing(store, capsys):
    Local(store, progress=False).run(jobs(37), Counting())
    measure = Counting()
    assert len(Local(store).run(jobs(40), measure, label="curve")) == 40
    assert measure.calls == 3
    assert "curve: 37 of 40 done, 3 left" in capsys.readouterr().err
    measure = Counting()
    Local(store, progress=False).run(jobs(40), measure)
    assert measure.calls == 0


def test_records_carry_their_provenance(store):
    (record,) = Local(store, command="deltalab run toy", progress=False).run(jobs(1), Counting())
    assert record.provenance["command"] == "deltalab run toy"
    assert record.provenance["seconds"] > 0
    assert store.table("toy")["seconds"].tolist() == [record.provenance["seconds"]]
    (record,) = Local(Store(store.path / "other"), progress=False).run(jobs(1), Counting())
    assert "command" not in record.provenance


def test_a_failing_job_does_not_lose_the_others(store):
    with pytest.raises(RunsFailed, match=r"2 of 5 failed, 3 done and stored") as caught:
        Local(store, progress=False).run(jobs(5), Counting(1, 3))
    assert [failure.job.config["i"] for failure in caught.value.failures] == [1, 3]
    assert "toy " in str(caught.value)
    assert "i=3: ZeroDivisionError: no 3" in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.__cause__.__traceback__ is not None
    assert len(store.keys()) == 3
    measure = Counting()
    assert len(Local(store, progress=False).run(jobs(5), measure)) == 5
    assert measure.calls == 2


def test_ctrl_c_keeps_what_is_done_and_says_how_much(store):
    def measure(job: Job, store: Store) -> Record:
        if job.config["i"] == 3:
            raise KeyboardInterrupt
        return Record(job, {})

    with pytest.raises(Interrupted, match="interrupted: curve: 3 of 9 done, 6 left; run it again") as caught:
        Local(store, progress=False).run(jobs(9), measure, label="curve")
    assert isinstance(caught.value, KeyboardInterrupt)
    assert (caught.value.done, caught.value.total) == (3, 9)
    assert len(store.keys()) == 3


def test_a_full_disk_stops_at_once(store, monkeypatch):
    def full(self: Store, record: Record) -> bool:
        raise StoreFull("no space left")

    monkeypatch.setattr(Store, "put", full)
    measure = Counting()
    with pytest.raises(StoreFull):
        Local(store, progress=False).run(jobs(5), measure)
    assert measure.calls == 1


def test_a_record_of_another_job_is_refused(store):
    with pytest.raises(RunsFailed, match=r"measure returned the record of .*expected that of the job it was given"):
        Local(store, progress=False).run(jobs(1), lambda job, store: Record(Job("toy", {"i": 99}), {}))
    assert store.keys() == []


def test_nothing_to_do_is_fine(store):
    assert Local(store).run([], Counting()) == []


def search(job: Job, engine: Engine) -> Record:
    """Bisection for the root of i² = 10, each probe a job of its own."""
    low, high = 0, 16
    while high - low > 1:
        middle = (low + high) // 2
        (record,) = engine.run([Job("toy", {"i": middle})], Counting(), label=f"probe {middle}")
        low, high = (middle, high) if record.metrics["square"] <= 10 else (low, middle)  # type: ignore[operator]
    return Record(job, {"root": low})


def test_a_job_may_run_child_jobs(store):
    (record,) = Local(store, progress=False).run([Job("search", {})], search)
    assert record.metrics["root"] == 3
    assert sorted(store.table("toy")["i"]) == [2, 3, 4, 8]


def test_an_interrupted_search_goes_on_with_its_children(store):
    Local(store, progress=False).run([Job("toy", {"i": 8}), Job("toy", {"i": 4})], Counting())
    measured = store.manifest(Job("toy", {"i": 8})).provenance
    Local(store, progress=False).run([Job("search", {})], search)
    assert store.manifest(Job("toy", {"i": 8})).provenance == measured


def test_a_failing_child_names_itself_in_the_failure_of_its_parent(store):
    def parent(job: Job, engine: Engine) -> Record:
        engine.run(jobs(2), Counting(1))
        return Record(job, {})

    with pytest.raises(RunsFailed, match=r"1 of 1 failed, .*\n  toy \w+: i=1: ZeroDivisionError: no 1") as caught:
        Local(store, progress=False).run([Job("parent", {})], parent)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.done, again.total) == (str(caught.value), 0, 1)
    assert store.has(jobs(1)[0])


def test_one_cause_of_several_failures_is_said_once(store):
    def misused(job: Job, engine: Engine) -> Record:
        raise ValueError("mine.csv, line 3: the label is ''")

    with pytest.raises(RunsFailed) as caught:
        Local(store, progress=False).run(jobs(2), misused)
    first, cause, *listed = str(caught.value).splitlines()
    assert first == "2 of 2 failed, 0 done and stored:"
    assert cause == "  ValueError: mine.csv, line 3: the label is ''"
    assert [line.split(":")[1] for line in listed] == [" i=0", " i=1"]


def test_an_unreadable_record_is_named_not_recomputed(store):
    Local(store, progress=False).run(jobs(1), Counting())
    (store._folder(jobs(1)[0]) / "metrics.parquet").write_bytes(b"")  # type: ignore[operator]
    measure = Counting()
    with pytest.raises(StoreError, match=r"metrics\.parquet has 0 bytes"):
        Local(store, progress=False).run(jobs(1), measure)
    assert measure.calls == 0


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120)


def text(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_bar_shows_done_left_and_failed_and_nested_runs_below():
    console = terminal()
    with shown("outer", done=1, total=3, console=console) as advance:
        with shown("inner", done=0, total=2, console=console) as inner:
            inner(1, 0)
        advance(2, 0)
        advance(2, 1)
    assert "outer: 2 of 3 done, 0 left, 1 failed" in text(console)
    console = terminal()
    with pytest.raises(KeyboardInterrupt), shown("outer", done=0, total=1, console=console):
        raise KeyboardInterrupt
    with shown("again", done=0, total=1, console=console) as advance:  # the interrupted display is closed
        advance(1, 0)
    assert "again: 1 of 1 done, 0 left" in text(console)


def test_without_a_terminal_lines_are_written_now_and_at_the_end():
    console = Console(file=io.StringIO(), width=40)
    with shown("a long label that would be wrapped", done=0, total=1000, console=console) as advance:
        for i in range(1000):
            advance(i + 1, 0)
    lines = text(console).splitlines()
    assert lines[0] == "a long label that would be wrapped: 0 of 1000 done, 1000 left"
    assert lines[-1] == "a long label that would be wrapped: 1000 of 1000 done, 0 left"
    assert len(lines) < 10


@pytest.mark.parametrize(
    ("seconds", "finished", "left", "expected"),
    [
        (0.1, 10, 1, "about 1 s to go"),
        (60, 3, 9, "about 3 min to go"),
        (3600, 1, 10, "about 10 h to go"),
        (86400, 1, 7, "about 7 d to go"),
        (5, 0, 3, ""),
        (5, 3, 0, ""),
    ],
)
def test_remaining_is_the_mean_times_what_is_left(seconds, finished, left, expected):
    assert remaining(seconds, finished, left) == expected


def test_children_are_as_quiet_as_their_parent_and_have_no_command_of_its(store, capsys):
    Local(store, progress=False, command="deltalab run search").run([Job("search", {})], search)
    assert capsys.readouterr().err == ""
    assert store.manifest(Job("search", {})).provenance["command"] == "deltalab run search"
    assert "command" not in store.manifest(Job("toy", {"i": 8})).provenance
