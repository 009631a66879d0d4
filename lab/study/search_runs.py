"""The runs of one search of the intrinsic dimension d90: baselines, subspaces, nulls, each once and in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isfinite, nan
from statistics import fmean
from typing import Any

import pandas as pd

from lab.geometry import IntrinsicDimension
from lab.study.experiment import Finding
from lab.study.lab import Lab
from lab.study.training_run import TRAINING_RUN, TrainingRun, reported


class SearchRuns:
    """The training runs of one search, done once each, and one row for each use of one.

    Args:
        shared: what all runs have alike; the others differ from it in method, seed, weights and step size.
        lab: what runs them.
    """

    def __init__(self, shared: TrainingRun, lab: Lab):
        self.shared, self.lab = shared, lab
        self.rows: list[dict[str, Any]] = []
        self.found: list[tuple[str, Finding[TrainingRun]]] = []

    def child(self, method: dict[str, Any], seed: int, **own: Any) -> TrainingRun:
        """A run; `seed` is added to the one of all runs."""
        return replace(self.shared, method=method, seed=self.shared.seed + seed, **own)

    def baselines(
        self, seeds: Sequence[int], step_sizes: Sequence[float], multiples: Sequence[float] = ()
    ) -> list[float]:
        """Scores of full fine-tuning over seeds, with the step size that did best on the first; and of the probe.

        Args:
            seeds: of both.
            step_sizes: of full fine-tuning, tried on the first seed.
            multiples: of the rule's step size, tried for the probe on the first seed; (): the rule's.
        """
        full, probe, (first, *others) = {"method": "full"}, {"method": "linear-probe"}, seeds
        tried = [self.child(full, first, lr=lr) for lr in step_sizes]
        lr = self.tuned("linear probe", self.child(probe, first), multiples)
        probes = [self.child(probe, seed, lr=lr) for seed in seeds]
        begun = self.run("full fine-tuning and linear probe", [*tried, *probes])
        best = max(begun[: len(tried)], key=lambda run: float(run.metrics["score"]))
        rest = self.run("full fine-tuning", [self.child(full, seed, lr=best.config.lr) for seed in others])
        scores = self.keep("full", [best, *rest])
        self.keep("linear_probe", begun[len(tried) :])
        return scores

    def tuned(self, label: str, run: TrainingRun, multiples: Sequence[float]) -> float | None:
        """The best of some multiples of the rule's step size on one run, by its validation score; None: the rule's."""
        if not multiples:
            return run.lr
        (by_rule,) = self.run(label, [run])
        rule = float(by_rule.metrics["step_size"])
        others = [replace(run, lr=rule * multiple) for multiple in multiples if multiple != 1]
        best = max([by_rule, *self.run(label, others)], key=lambda found: float(found.metrics["score"]))
        return best.config.lr

    def scores(self, kind: str, method: dict[str, Any], seeds: Sequence[int], **own: Any) -> list[float]:
        """Scores of one method over seeds; the runs join the table under `kind`."""
        label = f"{kind.replace('_', ' ')} d={method['dimension']}"
        return self.keep(kind, self.run(label, [self.child(method, seed, **own) for seed in seeds]))

    def keep(self, kind: str, runs: Sequence[Finding[TrainingRun]]) -> list[float]:
        """The scores of runs, which join the table under `kind`."""
        for run in runs:
            m = run.metrics
            names = ("train_seconds", "step_size", "metric")
            row = {"kind": kind, "d": m["tunable"], "seed": run.config.seed, "score": reported(run)}
            self.rows.append(row | {name: m[name] for name in names})
        return [reported(run) for run in runs]

    def run(self, label: str, children: Sequence[TrainingRun]) -> list[Finding[TrainingRun]]:
        """The runs, trained where the store does not have them."""
        found = self.lab.run(TRAINING_RUN, children, label)
        known = [run.record.job for _, run in self.found]
        named = [
            (f"{'random weights, ' * (run.config.weights == 'random')}{run.config.how.title}", run) for run in found
        ]
        self.found += [(name, run) for name, run in named if run.record.job not in known]
        return found

    def mean(self, kind: str) -> float:
        """Mean score of the rows of a kind."""
        return fmean(row["score"] for row in self.rows if row["kind"] == kind)

    def histories(self) -> pd.DataFrame:
        """Learning curves of all runs."""
        tables = [
            run.tables["history"].assign(
                label=f"{label}, η = {run.metrics['step_size']:.2g}", seed=run.config.seed, metric=run.metrics["metric"]
            )
            for label, run in self.found
        ]  # fmt: skip
        return pd.concat(tables, ignore_index=True)

    def table(self, found: IntrinsicDimension) -> pd.DataFrame:
        """The tidy table of the figure: one row per run, and the rows kind = fit, d90, d90_low, d90_high."""
        rows = [*self.rows, *({"kind": "fit", "d": d, "score": value} for d, value in found.curve)]
        for kind, d in {"d90": found.d, "d90_low": found.low, "d90_high": found.high}.items():
            rows.append({"kind": kind, "d": nan if d is None or d == inf else d, "score": found.line})
        table = pd.DataFrame(rows)
        return table.assign(metric=table["metric"].ffill())

    def metrics(self, found: IntrinsicDimension) -> dict[str, Any]:
        """Numbers of the search and of what it is seen beside."""
        probe = self.mean("linear_probe")
        return {
            "d90": found.d, "d90_low": found.low, "d90_high": found.high if isfinite(found.high) else None,
            "line": found.line, "linear_probe": probe, "random_weights": self.mean("random_weights"),
            "probe_passes": probe >= found.line, "status": found.status, "message": found.message,
            "evaluations": found.evaluations, "tunable": found.d, "native": self.found[0][1].metrics["native"],
            "train_seconds": sum(row["train_seconds"] for row in self.rows),
        }  # fmt: skip
