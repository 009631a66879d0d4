"""One job after the other, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lab.execution.progress import shown
from lab.execution.protocol import Failure, Interrupted, Measure, RunsFailed
from lab.runs import Job, Record, Store, StoreError, observe


class Local:
    """The engine for one machine.

    Each record is stored, whole, as soon as it is measured; so whatever ends the process, a later `run` of the same
    jobs goes on where this one stopped. A measurement may run child jobs with an engine of its own (an adaptive search
    does): they are shown one line below.

    Args:
        store: where records go, and where finished ones are found.
        command: the command line that repeats this run, kept in the provenance of its records.
        progress: show done, left and time to go on stderr (plain lines where stderr is no terminal).
    """

    def __init__(self, store: Store, *, command: str | None = None, progress: bool = True) -> None:
        self.store = store
        self.command = command
        self.progress = progress

    def run(self, jobs: Sequence[Job], measure: Measure, label: str = "") -> list[Record]:
        """See `lab.execution.protocol.Engine.run`."""
        distinct = list(dict.fromkeys(jobs))
        waiting = [job for job in distinct if not self.store.has(job)]
        label = label or (distinct[0].experiment if distinct else "nothing to do")
        failures: list[Failure] = []
        done = len(distinct) - len(waiting)
        try:
            with shown(label, done=done, total=len(distinct), visible=self.progress) as advance:
                for job in waiting:
                    try:
                        self._measure(job, measure)
                    except StoreError:
                        raise  # a full disk would waste every measurement to come
                    except Exception as error:
                        failures.append(Failure(job, error))
                    else:
                        done += 1
                    advance(done, len(failures))
        except KeyboardInterrupt as interrupt:
            raise Interrupted(label, done=done, total=len(distinct)) from interrupt
        if failures:
            raise RunsFailed(failures, done=done, total=len(distinct))
        return [self.store.get(job) for job in jobs]

    def _measure(self, job: Job, measure: Measure) -> None:
        record = observe(lambda: measure(job, self.store))
        if record.job != job:
            raise ValueError(f"measure returned the record of {record.job}; expected that of the job it was given")
        said = {} if self.command is None else {"command": self.command}
        self.store.put(replace(record, provenance={**record.provenance, **said}))
