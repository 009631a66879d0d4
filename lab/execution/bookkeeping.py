"""What every engine does around its measurements: what is missing, progress, failures, a safe stop."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace

from lab.execution.progress import shown
from lab.execution.protocol import Engine, Failure, Interrupted, Measure, RunsFailed
from lab.runs import Job, Record, Store, StoreError, observe
from lab.runs.journal import run_of

Outcomes = Generator[tuple[Job, Exception | None], None, None]


def run_missing(
    store: Store,
    jobs: Sequence[Job],
    outcomes: Callable[[list[Job]], Outcomes],
    *,
    label: str,
    progress: bool,
) -> list[Record]:
    """The records of jobs, in their order, after those that are missing were measured and stored.

    Args:
        store: where records are and go.
        jobs: equal jobs are measured once.
        outcomes: measures and stores the missing jobs, in any order, and yields each with None or what it raised; it is
            closed when the run is interrupted.
        label: name of the run; default: the experiment's.
        progress: whether to show it.

    Raises:
        RunsFailed, Interrupted, StoreError: as `lab.execution.protocol.Engine.run` says.
    """
    distinct = list(dict.fromkeys(jobs))
    missing = [job for job in distinct if not store.has(job)]
    label = label or (distinct[0].experiment if distinct else "nothing to do")
    failures: list[Failure] = []
    done = len(distinct) - len(missing)
    try:
        with (
            shown(label, done=done, total=len(distinct), visible=progress) as advance,
            run_of(label, done=done, total=len(distinct)) as noted,
            closing(outcomes(missing)) as measured,
        ):
            for job, error in measured:
                if isinstance(error, StoreError):
                    raise error  # a full disk would waste every measurement to come
                if error is None:
                    done += 1
                else:
                    failures.append(Failure(job, error))
                advance(done, len(failures))
                noted(done, len(failures))
    except KeyboardInterrupt as interrupt:
        raise Interrupted(label, done=done, total=len(distinct)) from interrupt
    if failures:
        raise RunsFailed(failures, done=done, total=len(distinct))
    return [store.get(job) for job in jobs]


def measure_and_store(job: Job, measure: Measure, engine: Engine, command: str | None) -> Exception | None:
    """Measures one job and stores its record with its provenance, unless another process did so meanwhile.

    Args:
        job: what to measure.
        measure: how.
        engine: what its children go to; the record goes to this engine's store.
        command: the command line that repeats the run, for the provenance; None: what `measure` says itself.

    Returns:
        What the measurement or the store raised, or None.
    """
    try:
        with engine.store.lease(job) as missing:
            if missing:
                _measured(job, measure, engine, command)
    except Exception as error:
        return error
    return None


def _measured(job: Job, measure: Measure, engine: Engine, command: str | None) -> None:
    record = observe(lambda: measure(job, engine))
    if record.job != job:
        raise ValueError(f"measure returned the record of {record.job}; expected that of the job it was given")
    said = {} if command is None else {"command": command}
    engine.store.put(replace(record, provenance={**record.provenance, **said}))
