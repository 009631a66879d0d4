"""Delta methods side by side on one task, each with its own step size: the runs that several questions share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lab.deltas import DeltaMethod, method_from_json
from lab.study.experiment import Finding
from lab.study.lab import Lab
from lab.study.settings import setting
from lab.study.step_sizes import StepSizes, tuned
from lab.study.training_run import TRAINING_RUN, Budget, TrainingRun, Workload, final


@dataclass(frozen=True, kw_only=True)
class Comparing(Workload):
    """How methods are compared, on any task."""

    seeds: tuple[int, ...] = setting("of the head, the method's random choices and the order of examples", low=0)
    evaluations: int = setting("of every run, evenly spaced, the last after the last step", low=1)
    head_lr: float = setting("step size of a freely trained head")
    tuning_task: str = setting("where step sizes are chosen", role="task")
    tuning_seed: int = setting("of the runs that choose step sizes", low=0)
    smallest_grid: int = setting("step sizes tried first", low=1)
    largest_grid: int = setting("most step sizes tried, while the best is at an edge", low=1)


@dataclass(frozen=True, kw_only=True)
class Comparison(Comparing, Budget):
    """All methods on one task, each with the step size that did best on the tuning task."""

    methods: tuple[dict[str, Any], ...] = setting("label, start of the grid of step sizes, and JSON of each method")

    def run(self, entry: Mapping[str, Any], seed: int, lr: float, task: str | None = None) -> TrainingRun:
        """The training run of one entry of `methods`."""
        method = method_json(entry)
        head_lr = None if method["method"] == "linear-probe" else self.head_lr  # of the probe, lr is the head's
        own = {"method": method, "task": task or self.task, "seed": seed, "lr": lr, "head_lr": head_lr}
        return self.child(**own, evaluations=self.evaluations, train_evaluations="last", keep_phi=False)


@dataclass(frozen=True, eq=False)
class ComparedRuns:
    """The training runs of one comparison.

    Attributes:
        runs: label -> its runs, in the order of the seeds.
        tuning: the search for step sizes: label, step_size, score, loss, chosen.
    """

    runs: dict[str, list[Finding[TrainingRun]]]
    tuning: pd.DataFrame

    @property
    def step_sizes(self) -> dict[str, float]:
        """Label -> the step size that was chosen."""
        chosen = self.tuning[self.tuning.chosen]
        return dict(zip(chosen.label, chosen.step_size, strict=True))

    def rows(self) -> list[dict[str, Any]]:
        """What every table of these runs starts from: one row per run, under `run` its finding."""
        return [
            {"label": label, "kind": kind_of(run.config.method["method"]), "run": run, "seed": run.config.seed,
             "task": run.config.task, "model": run.config.model, "metric": run.metrics["metric"],
             "tunable": run.metrics["tunable"]}
            for label, runs in self.runs.items()
            for run in runs
        ]  # fmt: skip


def kind_of(method: str) -> str:
    """ "full", "null" (nothing but the head moves), "combination" or "delta"."""
    return {"full": "full", "linear-probe": "null", "combination": "combination"}.get(method, "delta")


def compared_runs(c: Comparison, lab: Lab) -> ComparedRuns:
    """Every run of a comparison, trained where the store does not have it yet; seeds outermost, then methods."""
    entries = {entry["label"]: entry for entry in c.methods}

    def on_tuning_task(tried: Sequence[tuple[str, float]]) -> list[Finding[TrainingRun]]:
        children = [c.run(entries[label], c.tuning_seed, lr, c.tuning_task) for label, lr in tried]
        return lab.run(TRAINING_RUN, children, "step sizes")

    starts = {label: entry["start"] for label, entry in entries.items()}
    tuning = tuned(starts, on_tuning_task, smallest=c.smallest_grid, largest=c.largest_grid)
    children = [(label, c.run(entry, seed, tuning[label].best)) for seed in c.seeds for label, entry in entries.items()]
    found = lab.run(TRAINING_RUN, [run for _, run in children], f"runs on {c.task}")
    by_label: dict[str, list[Finding[TrainingRun]]] = {label: [] for label in entries}
    for (label, _), run in zip(children, found, strict=True):
        by_label[label].append(run)
    return ComparedRuns(by_label, _tuning_table(tuning))


def _tuning_table(tuning: Mapping[str, StepSizes]) -> pd.DataFrame:
    """One row per step size tried."""
    rows = [
        {"label": label, "step_size": lr, "score": run.metrics["score"], "loss": final(run.tables["history"])["loss"],
         "chosen": lr == sizes.best}
        for label, sizes in tuning.items()
        for lr, run in sizes.tried.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def joined(found: Sequence[Finding[Any]], name: str) -> pd.DataFrame:
    """One table of all findings."""
    return pd.concat([finding.tables[name] for finding in found], ignore_index=True)


def told(found: Sequence[Finding[Any]]) -> str:
    """Models, tasks, seeds and budget of comparisons, for a verdict."""
    c = found[0].config
    tasks = ", ".join(dict.fromkeys(finding.config.task for finding in found))
    seeds = sorted({seed for finding in found for seed in finding.config.seeds})
    examples = "all" if c.n_train is None else f"at most {c.n_train}"
    replicates = "interval over tasks, seeds averaged" if "," in tasks else "interval over seeds"
    return (
        f"{c.model}; {tasks}; seeds {', '.join(map(str, seeds))}; {c.steps} steps of {c.batch_size} × "
        f"{c.max_length} tokens, {examples} training examples; {replicates}; {c.scored_on}"
    )


def methods_of(c: Comparison) -> dict[str, DeltaMethod]:
    """Label -> method."""
    return {entry["label"]: method_from_json(method_json(entry)) for entry in c.methods}


def method_json(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What `method_from_json` reads, of one entry of a comparison's methods."""
    return {name: value for name, value in entry.items() if name not in ("label", "start")}
