"""Several processes on one machine, without a cluster: parents and children share one crew.

The calling process hands out jobs and computes nothing. A worker that runs children hands them back and waits; while it
waits it takes no slot, so a single search with many children keeps all slots busy. Workers write to the store
themselves. One that is killed is replaced, and its job is given out again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from lab.execution.bookkeeping import Outcomes, measure_and_store, run_missing
from lab.execution.progress import Advance, shown
from lab.execution.protocol import Measure
from lab.runs import Job, Record, Store

RETRIES = 3  # of a job whose process dies; a measurement that raises is not repeated
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Variables that numerical libraries read when they are loaded."""


class WorkerDied(Exception):
    """The process of a job ended `RETRIES` + 1 times without an answer."""


class Workers:
    """The engine for the processors of one machine.

    Args:
        store: where records go, and where finished ones are found.
        command: the command line that repeats this run, kept in the provenance of its records.
        progress: show done, left and time to go on stderr.
        workers: how many jobs run at a time.
        threads: threads of each; default: the processors shared out. Records are equal bit for bit to those of the
            local engine at as many threads.

    Raises:
        ValueError: fewer than one worker or thread.
    """

    def __init__(
        self,
        store: Store,
        *,
        command: str | None = None,
        progress: bool = True,
        workers: int = 2,
        threads: int | None = None,
    ) -> None:
        for name, number in (("workers", workers), ("threads", threads)):
            if number is not None and number < 1:
                raise ValueError(f"{name} is {number}; expected at least 1")
        self.store = store
        self.command = command
        self.progress = progress
        self.workers = workers
        self.threads = threads or max(1, len(os.sched_getaffinity(0)) // workers)

    def run(self, jobs: Sequence[Job], measure: Measure, label: str = "") -> list[Record]:
        """See `lab.execution.protocol.Engine.run`."""

        def outcomes(missing: list[Job]) -> Outcomes:
            with ExitStack() as displays:
                crew = _Crew(self, displays)
                try:
                    yield from crew.outcomes(missing, measure)
                finally:  # Ctrl-C, or a full disk: what was not begun is not begun, what runs is stopped
                    crew.dismiss()

        return run_missing(self.store, jobs, outcomes, label=label, progress=self.progress)


@dataclass(eq=False)
class _Group:
    """The jobs of one call of `run`: of the caller's (no parent), or of a worker that waits for them."""

    measure: Measure
    command: str | None
    pending: int
    parent: Connection | None = None
    outcomes: list[tuple[Job, Exception | None]] = field(default_factory=list)
    advance: Advance = lambda done, failed: None


@dataclass(eq=False)
class _Task:
    """One job, and every group that waits for it: two parents that need one child have it made once."""

    job: Job
    groups: list[_Group]
    tries: int = 0


class _Crew:
    """The processes and what they do."""

    def __init__(self, engine: Workers, displays: ExitStack) -> None:
        self.engine, self.displays = engine, displays
        self.processes: dict[Connection, Any] = {}
        self.idle: list[Connection] = []
        self.busy: dict[Connection, _Task] = {}
        self.waiting: dict[Connection, tuple[_Task, _Group]] = {}
        self.ready: list[Connection] = []
        self.queue: deque[_Task] = deque()

    def outcomes(self, jobs: Sequence[Job], measure: Measure) -> Iterator[tuple[Job, Exception | None]]:
        root = _Group(measure, self.engine.command, len(jobs))
        self.queue.extend(_Task(job, [root]) for job in jobs)
        told = 0
        while told < len(jobs):
            self._hand_out()
            for connection in wait(list(self.processes)):
                assert isinstance(connection, Connection)
                self._receive(connection)
            yield from root.outcomes[told:]
            told = len(root.outcomes)

    def dismiss(self) -> None:
        for connection, process in self.processes.items():
            process.terminate()
            connection.close()
        for process in self.processes.values():
            process.join()

    def _hand_out(self) -> None:
        while len(self.busy) < self.engine.workers and (self.ready or self.queue):
            if self.ready:  # whose children are done
                connection = self.ready.pop()
                task, group = self.waiting.pop(connection)
                self.busy[connection] = task
                connection.send(group.outcomes)
            else:
                task = self.queue.popleft()
                connection = self.idle.pop() if self.idle else self._hired()
                self.busy[connection] = task
                first = task.groups[0]
                connection.send((task.job, first.measure, first.command))

    def _hired(self) -> Connection:
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(there, self.engine.store), daemon=False
        )
        waiting = {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "0")}
        with _environment(dict.fromkeys(THREADS, str(self.engine.threads)) | waiting):
            process.start()
        there.close()
        self.processes[here] = process
        return here

    def _receive(self, connection: Connection) -> None:
        try:
            kind, *said = connection.recv()
        except (EOFError, OSError):
            self._lost(connection)
            return
        if kind == "done":
            self._finish(self.busy.pop(connection), said[0])
            self.idle.append(connection)
        else:
            self._children(connection, *said)

    def _children(self, connection: Connection, jobs: list[Job], measure: Measure, label: str) -> None:
        group = _Group(measure, None, len(jobs), connection)
        group.advance = self.displays.enter_context(
            shown(label or jobs[0].experiment, done=0, total=len(jobs), visible=self.engine.progress)
        )
        self.waiting[connection] = (self.busy.pop(connection), group)
        known = {task.job: task for task in (*self.queue, *self.busy.values(), *(t for t, _ in self.waiting.values()))}
        for job in reversed(jobs):  # children before what has not begun, in their order
            if job in known:
                known[job].groups.append(group)
            else:
                self.queue.appendleft(_Task(job, [group]))

    def _finish(self, task: _Task, error: Exception | None) -> None:
        for group in task.groups:
            group.outcomes.append((task.job, error))
            group.advance(len(group.outcomes), sum(e is not None for _, e in group.outcomes))
            if len(group.outcomes) == group.pending and group.parent in self.waiting:
                self.ready.append(group.parent)

    def _lost(self, connection: Connection) -> None:
        """A worker died: its job is given out again; children that it waited for are still made and stored."""
        process = self.processes.pop(connection)
        process.join()
        connection.close()
        self.idle = [other for other in self.idle if other is not connection]
        task = self.busy.pop(connection, None) or self.waiting.pop(connection, (None, None))[0]
        self.ready = [other for other in self.ready if other is not connection]
        if task is None:
            return
        task.tries += 1
        if task.tries <= RETRIES:
            self.queue.appendleft(task)
        else:
            code = process.exitcode
            self._finish(task, WorkerDied(f"its process died {task.tries} times (exit code {code}); out of memory?"))


class _Crewed:
    """The engine inside a worker: children go back to whoever hands out the jobs."""

    def __init__(self, connection: Connection, store: Store) -> None:
        self.connection = connection
        self.store = store

    def run(self, jobs: Sequence[Job], measure: Measure, label: str = "") -> list[Record]:
        def outcomes(missing: list[Job]) -> Outcomes:
            if missing:
                self.connection.send(("children", missing, measure, label))
                yield from self.connection.recv()

        return run_missing(self.store, jobs, outcomes, label=label, progress=False)


def _work(connection: Connection, store: Store) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the terminal's whole group; the caller ends us
    threading.Thread(target=_end_with_the_caller, daemon=True).start()
    engine = _Crewed(connection, store)
    while True:
        try:
            job, measure, command = connection.recv()
            connection.send(("done", _portable(measure_and_store(job, measure, engine, command))))
        except (EOFError, OSError):
            return


def _end_with_the_caller() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _portable(error: Exception | None) -> Exception | None:
    """An exception that can be sent; another kind is told in words."""
    try:
        multiprocessing.reduction.ForkingPickler.dumps(error)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


@contextmanager
def _environment(changed: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
