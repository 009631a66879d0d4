"""One job after the other, in this process."""

from __future__ import annotations

from collections.abc import Sequence

from lab.execution.bookkeeping import Outcomes, measure_and_store, run_missing
from lab.execution.protocol import Measure
from lab.runs import Job, Record, Store


class Local:
    """The engine for one machine.

    Each record is stored, whole, as soon as it is measured; so whatever ends the process, a later `run` of the same
    jobs goes on where this one stopped. Children run inside their parent's turn and are shown one line below it.

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
        inner = Local(self.store, progress=self.progress)  # the command is the parents'

        def outcomes(missing: list[Job]) -> Outcomes:
            for job in missing:
                yield job, measure_and_store(job, measure, inner, self.command)

        return run_missing(self.store, jobs, outcomes, label=label, progress=self.progress)
