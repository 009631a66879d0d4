"""What a delta trained on one task does on another without further training.

An encoder's classification head is new and belongs to a task. It goes with φ ("transferred": zero-shot, which also asks
whether class 1 means alike), or only the body goes and a head is trained on the target ("refitted": what the body is
worth there). The linear probe is the null of the first: its body is the PLM's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lab.deltas import Adapter, Delta, DeltaMethod, LinearProbe, LoRA, Prefix, Prompt, method_from_json
from lab.geometry.update_similarity import update_similarities
from lab.models import settled
from lab.runs.record import Scalar
from lab.statistics import Evidence, Relabelling, Verdict
from lab.statistics.transfer import inside_and_across, likeness_test, similarity_of, transfer_by_type
from lab.study import TRAINING_RUN, Experiment, Finding, Lab, Result, TrainingRun, Workload, open_plm, setting
from lab.study.comparison import kind_of
from lab.study.step_sizes import StepSizeGrids
from lab.tasks import type_of
from lab.tasks.constant import constant_score
from lab.training import evaluate, fit

SOURCE = "Ding et al. 2022, task-level transferability"
SIMILAR = "transfer_similarity"
HEADS = ("transferred", "refitted")
LEARNED = 0.05
"""Score above chance from which on a target counts as learned, so that a share of it means something."""


@dataclass(frozen=True, kw_only=True)
class Setup(StepSizeGrids, Workload):
    """What all methods of a comparison have alike."""

    model: str = setting("name for load_plm", role="model")
    tasks: tuple[str, ...] = setting("names or paths for load_task, of two classes each", role="task")
    batch_size: int = setting("examples per step", 16, unit="example", low=1, keyed=True)
    heads: tuple[str, ...] = setting(
        "what happens to the head on a target", ("transferred",), choices=HEADS, keyed=True
    )
    head_lr: float = setting("step size of a head", 1e-2, keyed=True)
    seed: int = setting(
        "of head, start and order of examples; one for all tasks, so that updates compare", 0, low=0, keyed=True
    )
    tuning_task: str | None = setting(
        "where the step size of every method is chosen by one rule, the probe's too; none: the given ones",
        None,
        role="task",
    )


@dataclass(frozen=True, kw_only=True)
class Transfer(Setup):
    """One method: a matrix of source × target."""

    label: str = setting("of the method, in figures")
    method: dict[str, Any] = setting("hyperparameters of the delta method (`DeltaMethod.to_json`)")
    lr: float = setting("step size of φ; with a tuning task, where its grid starts")

    def run(self, task: str, lr: float | None = None) -> TrainingRun:
        """The training run on one source, with the given step size or another one."""
        head_lr = None if self.method["method"] == "linear-probe" else self.head_lr  # of the probe, lr is the head's
        return self.child(task=task, method=self.method, seed=self.seed, lr=lr or self.lr, head_lr=head_lr)

    def step_size(self, lab: Lab) -> float:
        """The step size of all runs: the given one, or the best of half-decades about it on the tuning task."""
        if self.tuning_task is None:
            return self.lr
        task = self.tuning_task

        def on_tuning_task(tried: Sequence[tuple[str, float]]) -> list[Finding[TrainingRun]]:
            return lab.run(TRAINING_RUN, [self.run(task, lr) for _, lr in tried], f"step sizes of {self.label}")

        return self.best({self.label: self.lr}, on_tuning_task)[self.label]


@dataclass(frozen=True, kw_only=True)
class Plan(Setup):
    """One matrix per method."""

    methods: tuple[str, ...] = setting("labels of methods; (none): all", ())
    prompt_tokens: int = setting("length of the prompt", 20, unit="token", low=1)

    def configs(self) -> tuple[Transfer, ...]:
        known = self.compared()
        if unknown := sorted(set(self.methods) - set(known)):
            raise ValueError(f"unknown methods {unknown}; choose from {', '.join(known)}.")
        chosen = {label: known[label] for label in self.methods or known}
        return tuple(self.to(Transfer, label=label, method=m.to_json(), lr=lr) for label, (m, lr) in chosen.items())

    def compared(self) -> dict[str, tuple[DeltaMethod, float]]:
        """Label -> the method and its step size."""
        return {
            "LoRA": (LoRA(rank=8), 3e-3),
            "adapter": (Adapter(bottleneck=64, activation="silu", placement="houlsby"), 1e-3),
            "prefix": (Prefix(tokens=5), 1e-1),
            "prompt": (Prompt(tokens=self.prompt_tokens), 1e-2),
            "linear probe": (LinearProbe(), self.head_lr),
        }


def measure(c: Transfer, lab: Lab) -> Result:
    """Train on every source, evaluate on every target, compare the updates."""
    for task in c.tasks:
        if (n := c.examples(task).num_labels) != 2:
            raise ValueError(f"transfer needs tasks of two classes, so that φ fits them all; {task!r} has {n}.")
    lr = c.step_size(lab)
    runs = lab.run(TRAINING_RUN, [c.run(task, lr) for task in c.tasks], f"transfer {c.label}")
    delta = method_from_json(c.method).on(open_plm(c.model, 2, seed=c.seed), seed=c.seed)
    phis = {run.config.task: torch.as_tensor(run.arrays["phi"], device=delta.plm.device) for run in runs}
    table = pd.concat([_matrix(c, delta, phis, head) for head in c.heads], ignore_index=True)
    metrics: dict[str, Scalar] = {"metric": runs[0].metrics["metric"], "tunable": delta.counts.trained, "step_size": lr}
    metrics |= {name: value for name, value in inside_and_across(table).items() if value == value}
    pairs = _pairs(update_similarities(delta, phis), table)
    return Result(metrics, {"transfer": table} | ({SIMILAR: pairs} if len(pairs) else {}))


def _pairs(similarities: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """One row per pair of tasks and treatment of the head: similarity, and mean transfer of both directions."""
    both = [table.assign(one=table[a], other=table[b]) for a, b in (("source", "target"), ("target", "source"))]
    means = pd.concat(both).groupby(["label", "one", "other"], sort=False).relative.mean().rename("transfer")
    if not len(similarities):
        return similarities
    pairs = similarities.merge(means.reset_index(), on=["one", "other"])
    inside = pairs.one.map(type_of) == pairs.other.map(type_of)
    named = pairs.assign(pair=pairs.one + " · " + pairs.other, types=np.where(inside, "inside", "across"))
    return named.drop(columns=["one", "other"])


def _matrix(c: Transfer, delta: Delta, phis: Mapping[str, Tensor], head: str) -> pd.DataFrame:
    """One row per source and target."""
    scores = {
        (source, target): _score(c, delta, phi, target, head == "refitted" and source != target)
        for source, phi in phis.items()
        for target in phis
    }
    label = c.label if head == "transferred" else f"{c.label}, head {head}"
    chances = {task: constant_score(c.examples(task), c.judged) for task in phis}
    rows = []
    for (source, target), score in scores.items():
        own, chance = scores[target, target], chances[target]
        relative = (score - chance) / (own - chance) if own - chance >= LEARNED else np.nan
        rows.append(
            {"label": label, "kind": kind_of(c.method["method"]), "head": head, "source": source, "target": target,
             "source_type": type_of(source), "target_type": type_of(target), "score": score, "own": own,
             "chance": chance, "relative": relative}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _score(c: Transfer, delta: Delta, phi: Tensor, target: str, refitted: bool) -> float:
    """Score on the target: of φ as it is, or of its body with a head trained on the target."""
    encoded = c.examples(target).encode(delta.plm, max_length=c.max_length)
    if refitted:
        delta = LinearProbe().on(settled(delta.plm, delta.overrides(phi)))
        phi = fit(
            delta, encoded, steps=c.steps, lr=c.head_lr, batch_size=c.batch_size, seed=c.seed,
            evaluation_size=c.n_validation, train_evaluations="last",
        ).phi  # fmt: skip
    return evaluate(delta, encoded, phi, c.judged, size=c.n_validation if c.judged == "validation" else None)[1]


def claims(found: Sequence[Finding[Transfer]]) -> list[Verdict]:
    """Inside against across types, and whether likeness of updates tells transfer: exact tests, tasks are the units."""
    c = found[0].config
    seeds = ", ".join(map(str, sorted({finding.config.seed for finding in found})))
    where = (
        f"{c.model}; {', '.join(c.tasks)}; seeds {seeds}; {c.steps} steps of {c.batch_size} × {c.max_length} tokens; "
        "head transferred with φ"
    )
    evidence = Evidence(SOURCE, where, "transfer", "tasks", 9)
    deltas = [
        f for f in found if {"inside", "across"} <= set(f.metrics) and kind_of(f.config.method["method"]) == "delta"
    ]
    verdicts = []
    if deltas:
        test, n = (
            transfer_by_type([f.tables["transfer"] for f in deltas]),
            deltas[0].tables["transfer"].source.nunique(),
        )
        by_type = evidence.above(
            0.0, test.interval(n, largest=inf),
            "Zero-shot transfer is better inside a type of task than across types.",
            "relative transfer inside types minus across types, mean over pairs of tasks, methods and seeds; "
            f"{_exact(test, n)} [1]",
        )  # fmt: skip
        verdicts.append(by_type)
    likeness_of = replace(evidence, source="likeness (docs/subspaces.md)", number=None, figure=SIMILAR)
    similar = [f.tables[SIMILAR].assign(seed=f.config.seed) for f in deltas if SIMILAR in f.tables]
    pairs = similarity_of(similar)
    tasks = len({task for pair in pairs.index for task in pair.split(" · ")})
    for column, name in (("cosine", "cosine"), ("subspace", "subspace similarity")):
        if len(pairs) and (likeness := likeness_test(pairs[column], pairs.transfer)) is not None:
            tells = likeness_of.above(
                0.0, likeness.interval(tasks),
                f"The {name} of two updates tells how well the deltas transfer between their tasks.",
                f"Spearman's ρ between {name} and relative transfer over pairs of tasks, means over runs; "
                f"{_exact(likeness, tasks)} [1]",
            )  # fmt: skip
            verdicts.append(tells)
    return verdicts


def _exact(test: Relabelling, n: int) -> str:
    kind = "exact" if test.exact else "permutation"
    return f"{kind} test over {n} tasks: one-sided p = {test.p_value:.3g}, the smallest possible {test.attainable:.3g}"


_DEMO = Plan(
    model="minilm", tasks=("rotten-tomatoes", "imdb", "next-sentence", "same-topic"), steps=128, n_train=1024,
    n_validation=200, max_length=32, splits=3, n_test=400, tuning_task="rotten-tomatoes",
)  # fmt: skip

EXPERIMENT = Experiment(
    name="transfer",
    question="to which tasks does a trained delta transfer, and does the similarity of two updates tell how well?",
    source="Ding et al. 2022, task-level transferability: good inside a type of task, poor across types.",
    varied="the method, the source task, the target task.",
    tuned="with --tuning-task every method, the probe included, takes the best of the same half-decades about its "
    "start on that task's validation data; without, step sizes near those that `performance` found, for LoRA and "
    "adapter half a decade lower, since the best ones are next to those that fail, and LoRA's failed on same-topic.",
    fixed="PLM, steps, batch size, sequence length, seed; all tasks have two classes, so that φ fits every target.",
    expected="high inside sentiment; near chance across types, where the two classes mean different things.",
    cost="demo: half an hour on one quiet core (MiniLM, 4 tasks, 4 methods and the linear probe, a third of it for the "
    "step sizes). smoke: seconds.",
    view="methods",
    config=Transfer,
    scales={
        "smoke": Plan(
            model="tiny-bert", tasks=("rotten-tomatoes", "imdb"), steps=2, n_train=32, n_validation=16, max_length=8,
            batch_size=4, heads=HEADS, prompt_tokens=4, tuning_task="imdb", smallest_grid=1, largest_grid=1,
        ),
        "demo": _DEMO,
        "paper": replace(
            _DEMO, tasks=(*_DEMO.tasks, "bigram-shift"), steps=2000, n_train=None, n_validation=None, max_length=128,
            batch_size=32, heads=HEADS, prompt_tokens=100, n_test=1000,
        ),
    },
    measure=measure,
    figures=("transfer", "transfer_similarity"),
    claims=claims,
    replicates=("label", "method", "lr", "seed"),
)  # fmt: skip
