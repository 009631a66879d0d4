"""`Lab`: where a measurement runs its children. The only way to run them, so that they go where their parent runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.execution import Engine
from lab.runs import Job, Record, Store
from lab.study.catalogue import load_experiment
from lab.study.experiment import C, Experiment, Finding


@dataclass(frozen=True, eq=False)
class Lab:
    """An engine, as a measurement sees it.

    Args:
        engine: what runs the children, and whose store has what is done.
    """

    engine: Engine

    @property
    def store(self) -> Store:
        """Where the records are."""
        return self.engine.store

    def run(self, experiment: Experiment[C], configs: Sequence[C], label: str = "") -> list[Finding[C]]:
        """The findings of these configs, in their order; those that are missing are measured first, side by side where
        the engine has room.

        Args:
            experiment: whose configs they are.
            configs: equal ones are measured once.
            label: what to call this in the progress display.

        Raises:
            RunsFailed, Interrupted, StoreError: as `lab.execution.protocol.Engine.run` says.
        """
        records = self.engine.run([experiment.job(config) for config in configs], measured, label)
        return [Finding(config, record) for config, record in zip(configs, records, strict=True)]

    def one(self, experiment: Experiment[C], config: C, label: str = "") -> Finding[C]:
        """The finding of one config; see `run`."""
        (found,) = self.run(experiment, [config], label)
        return found


def measured(job: Job, engine: Engine) -> Record:
    """The record of any experiment's job: what engines call, also in other processes.

    Raises:
        ValueError: no such experiment, or a job that it cannot read.
    """
    return load_experiment(job.experiment).measured(job, Lab(engine))
