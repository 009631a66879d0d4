"""What every engine is: something that has the records of jobs made, whichever of them are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lab.runs import Job, Record, Store, described

Measure = Callable[[Job, "Engine"], Record]
"""A pure function of the job. The engine is the one that runs it: its store can be read, and child jobs go to it."""


class Engine(Protocol):
    """Runs jobs; what is in its store is done, so that running again resumes."""

    @property
    def store(self) -> Store:
        """Where the records go."""

    def run(self, jobs: Sequence[Job], measure: Measure, label: str = "") -> list[Record]:
        """The records of the jobs, in their order; those that are missing are measured and stored first.

        Args:
            jobs: equal jobs are measured once.
            measure: a pure function of the job; children that it gives to the engine it gets run where this one does.
            label: what to call this in the progress display.

        Raises:
            RunsFailed: some measurements raised; all others were done and stored.
            Interrupted: Ctrl-C; what was done is stored.
            StoreError: the store cannot be written (nothing more is tried).
        """


@dataclass(frozen=True)
class Failure:
    """A job whose measurement raised."""

    job: Job
    error: Exception

    @property
    def cause(self) -> str:
        """The exception in words."""
        return f"{type(self.error).__name__}: {self.error}"

    @property
    def leaves(self) -> tuple[Failure, ...]:
        """Itself, or the children's failures that it is due to."""
        if not isinstance(self.error, RunsFailed):
            return (self,)
        return tuple(leaf for failure in self.error.failures for leaf in failure.leaves)

    def __str__(self) -> str:
        return "\n".join(f"{described(leaf.job)}: {leaf.cause}" for leaf in self.leaves)


class RunsFailed(Exception):
    """Some jobs failed; the others are stored. Each failure keeps its job and its exception with the traceback."""

    def __init__(self, failures: Sequence[Failure], *, done: int, total: int) -> None:
        self.failures = tuple(failures)
        self.done = done
        self.total = total
        listed = "\n".join(f"  {line}" for line in _by_cause(self.failures))
        super().__init__(f"{len(self.failures)} of {total} failed, {done} done and stored:\n{listed}")
        self.__cause__ = self.failures[0].error

    def __reduce__(self) -> tuple[object, ...]:  # an engine of processes sends a nested one back to its parent
        return _runs_failed, (self.failures, self.done, self.total)


def _by_cause(failures: Sequence[Failure]) -> list[str]:
    """A line for each failure; where several have one cause, the cause and below it the jobs."""
    causes: dict[str, list[Failure]] = {}
    for one in (one for failure in failures for one in failure.leaves):
        causes.setdefault(one.cause, []).append(one)
    lines: list[str] = []
    for cause, found in causes.items():
        jobs = list(dict.fromkeys(described(one.job) for one in found))
        lines += [f"{jobs[0]}: {cause}"] if len(jobs) == 1 else [cause, *(f"  {job}" for job in jobs)]
    return lines


def _runs_failed(failures: Sequence[Failure], done: int, total: int) -> RunsFailed:
    return RunsFailed(failures, done=done, total=total)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; a `KeyboardInterrupt` that says what is done. The job that was running is dropped whole."""

    def __init__(self, label: str, *, done: int, total: int) -> None:
        self.done = done
        self.total = total
        super().__init__(
            f"interrupted: {tally(label, done, total)}; run it again to go on, finished runs are not repeated"
        )


def tally(label: str, done: int, total: int, failed: int = 0) -> str:
    """How far a run is, as one says it.

    Example:
        >>> tally("curve", 37, 40)
        'curve: 37 of 40 done, 3 left'
        >>> tally("curve", 37, 40, failed=1)
        'curve: 37 of 40 done, 2 left, 1 failed'
    """
    text = f"{label}: {done} of {total} done, {total - done - failed} left"
    return f"{text}, {failed} failed" if failed else text
