"""A delta trained whole and in random subspaces of its own vector: the runs of a search for its dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import nan
from statistics import fmean

import pandas as pd
import torch

from lab.geometry.batch_losses import batch_loss
from lab.study.experiment import Finding
from lab.study.lab import Lab
from lab.study.training_run import TRAINING_RUN, TrainingRun, final, reported
from lab.training import default_step_size

EXPONENTS = (0.5, 0.75)
"""Exponents p of the subspace's step size η·(d/k)^p: moving as far as the whole delta does, and further."""

MULTIPLES = (1.0, 0.25)
"""Step sizes of the whole delta, in units of the rule for d and D, which was found on MiniLM."""


class SubspaceRuns:
    """The training runs of one search, done once each and kept in the store.

    Args:
        shared: a training run of the whole delta.
        seeds: added to its seed, for every step size and dimension.
        lab: what runs them.
    """

    def __init__(self, shared: TrainingRun, seeds: Sequence[int], lab: Lab):
        self.shared, self.seeds, self.lab = shared, seeds, lab
        self.delta = self.shared.analysed()
        self.found: list[Finding[TrainingRun]] = []
        size, native = self.delta.size, max(self.delta.plm.size, self.delta.size)
        self.step_size = default_step_size(size, native)
        self.exponent = EXPONENTS[0]
        self._tuned = False
        self.full_loss = self.start_loss = nan

    def whole(self) -> list[Finding[TrainingRun]]:
        """The delta itself over seeds, and the training losses that "recovered" is measured between."""
        seeds, sizes = self.seeds, [self.step_size * multiple for multiple in MULTIPLES]
        tried = self._run("step size of the whole delta", [self._child(None, seeds[0], size) for size in sizes])
        self.step_size = min(zip(sizes, tried, strict=True), key=lambda pair: _loss(pair[1]))[0]
        runs = self._run("whole delta", [self._child(None, seed, self.step_size) for seed in seeds])
        self.full_loss = fmean(_loss(run) for run in runs)
        batch = self.shared.batch(self.delta, self.shared.n_validation or 10**9)
        with torch.no_grad():
            self.start_loss = float(batch_loss(self.delta, batch)(self.delta.phi0))
        return runs

    def scores(self, d: int, seeds: Sequence[int]) -> list[float]:
        return [reported(run) for run in self._subspace(d, seeds)]

    def recovered(self, d: int, seeds: Sequence[int]) -> list[float]:
        """Share of the training loss recovered: 0 at the start, 1 where the whole delta ends."""
        return [self.share(run) for run in self._subspace(d, seeds)]

    def share(self, run: Finding[TrainingRun]) -> float:
        """Share of the training loss that a run recovered; 1 on average over the runs of the whole delta."""
        return (self.start_loss - _loss(run)) / (self.start_loss - self.full_loss)

    def _subspace(self, d: int, seeds: Sequence[int]) -> list[Finding[TrainingRun]]:
        if not self._tuned:  # once, on the first dimension and seed
            self._tuned = True
            tried = self._run("step size", [self._child(d, seeds[0], self._step_size(d, p)) for p in EXPONENTS])
            self.exponent = min(zip(EXPONENTS, tried, strict=True), key=lambda pair: _loss(pair[1]))[0]
        size = self._step_size(d, self.exponent)
        return self._run(f"subspace d={d} lr={size:.2g}", [self._child(d, seed, size) for seed in seeds])

    def _step_size(self, d: int, exponent: float) -> float:
        return self.step_size * (self.delta.size / d) ** exponent

    def _child(self, d: int | None, seed: int, lr: float) -> TrainingRun:
        return replace(self.shared, seed=self.shared.seed + seed, lr=lr, subspace=d)

    def _run(self, label: str, children: Sequence[TrainingRun]) -> list[Finding[TrainingRun]]:
        runs = self.lab.run(TRAINING_RUN, children, label)
        self.found += [run for run in runs if run.record.job not in [known.record.job for known in self.found]]
        return runs

    def gaps(self) -> pd.DataFrame:
        """Validation minus training loss of every run, beside √(d/n), the rate of Aghajanyan et al. 2020."""
        n = len(self.shared.data.train)
        rows = [
            {"d": run.metrics["tunable"], "n": n, "gap": _loss(run, "validation") - _loss(run),
             "rate": (run.metrics["tunable"] / n) ** 0.5}
            for run in self.found
        ]  # fmt: skip
        return pd.DataFrame(rows)


def _loss(run: Finding[TrainingRun], split: str = "train") -> float:
    return float(final(run.tables["history"], split)["loss"])
