"""What a delta trained on one task does on another without further training.

An encoder's classification head is new and belongs to a task. It goes with φ ("transferred": zero-shot, which also asks
whether class 1 means alike), or only the body goes and a head is trained on the target ("refitted": what the body is
worth there). The linear probe is the null of the first: its body is the PLM's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from math import inf
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.performance import kind_of
from lab.deltas import Adapter, Delta, DeltaMethod, LinearProbe, LoRA, Prefix, Prompt, method_from_json
from lab.geometry import update_cosine, update_of, update_subspace_similarity
from lab.models import settled
from lab.runs.record import Scalar
from lab.statistics import Relabelling, Verdict, relabelled
from lab.statistics.transfer import likeness_test
from lab.study import TRAINING_RUN, Config, Experiment, Finding, Lab, Result, TrainingRun, open_plm, open_task, setting
from lab.tasks import Task
from lab.training import evaluate, fit

SOURCE = "Ding et al. 2022, task-level transferability"
TYPES = {
    "rotten-tomatoes": "sentiment",
    "imdb": "sentiment",
    "bigram-shift": "form",
    "next-sentence": "pairs",
    "same-topic": "pairs",
}
"""Task -> its type; a task of another name is a type of its own."""

HEADS = ("transferred", "refitted")
LEARNED = 0.05
"""Score above chance from which on a target counts as learned, so that a share of it means something."""


@dataclass(frozen=True, kw_only=True)
class Setup(Config):
    """What all methods of a comparison have alike."""

    model: str = setting("name for load_plm", role="model")
    tasks: tuple[str, ...] = setting("names or paths for load_task, of two classes each", role="task")
    steps: int = setting("AdamW steps of every run", unit="step", low=1)
    n_train: int | None = setting("training examples of every task; none: all", unit="example", low=1)
    n_validation: int = setting("validation examples of every task", unit="example", low=1)
    max_length: int = setting("tokens kept per example", unit="token", low=1)
    batch_size: int = setting("examples per step", 16, unit="example", low=1, keyed=True)
    heads: tuple[str, ...] = setting(
        "what happens to the head on a target", ("transferred",), choices=HEADS, keyed=True
    )
    head_lr: float = setting("step size of a head", 1e-2, keyed=True)
    seed: int = setting(
        "of head, start and order of examples; one for all tasks, so that updates compare", 0, low=0, keyed=True
    )
    splits: int = setting("3: train on a part of the training data, report on what was held out", 2, choices=(2, 3))
    n_test: int | None = setting("with three splits: test examples, or all where there are fewer", None, low=1)

    def data(self, task: str) -> Task:
        """A task, cut to size."""
        return open_task(task, self.n_train, self.n_validation, splits=self.splits, n_test=self.n_test)

    @property
    def judged(self) -> str:
        """The split whose scores are reported."""
        return "test" if self.splits == 3 else "validation"


@dataclass(frozen=True, kw_only=True)
class Transfer(Setup):
    """One method: a matrix of source × target."""

    label: str = setting("of the method, in figures")
    method: dict[str, Any] = setting("hyperparameters of the delta method (`DeltaMethod.to_json`)")
    lr: float = setting("step size of φ")

    def run(self, task: str) -> TrainingRun:
        head_lr = None if self.method["method"] == "linear-probe" else self.head_lr  # of the probe, lr is the head's
        return TrainingRun(
            model=self.model, task=task, method=self.method, seed=self.seed, lr=self.lr, head_lr=head_lr,
            steps=self.steps, n_train=self.n_train, n_validation=self.n_validation, max_length=self.max_length,
            batch_size=self.batch_size, splits=self.splits, n_test=self.n_test,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan(Setup):
    """One matrix per method."""

    methods: tuple[str, ...] = setting("labels of methods; (none): all", ())
    prompt_tokens: int = setting("length of the prompt", 20, unit="token", low=1)

    def configs(self) -> tuple[Transfer, ...]:
        known = self.compared()
        if unknown := sorted(set(self.methods) - set(known)):
            raise ValueError(f"unknown methods {unknown}; choose from {', '.join(known)}.")
        shared = {entry.name: getattr(self, entry.name) for entry in fields(Setup)}
        chosen = {label: known[label] for label in self.methods or known}
        return tuple(Transfer(label=label, method=m.to_json(), lr=lr, **shared) for label, (m, lr) in chosen.items())

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
        if (n := c.data(task).num_labels) != 2:
            raise ValueError(f"transfer needs tasks of two classes, so that φ fits them all; {task!r} has {n}.")
    runs = lab.run(TRAINING_RUN, [c.run(task) for task in c.tasks], f"transfer {c.label}")
    delta = method_from_json(c.method).on(open_plm(c.model, 2, seed=c.seed), seed=c.seed)
    phis = {run.config.task: torch.as_tensor(run.arrays["phi"], device=delta.plm.device) for run in runs}
    table = pd.concat([_matrix(c, delta, phis, head) for head in c.heads], ignore_index=True)
    metrics: dict[str, Scalar] = {"metric": runs[0].metrics["metric"], "tunable": delta.counts.trained}
    metrics |= {name: value for name, value in _means(table).items() if value == value}
    pairs = _similarities(delta, phis, table)
    return Result(metrics, {"transfer": table} | ({"transfer_similarity": pairs} if len(pairs) else {}))


def _matrix(c: Transfer, delta: Delta, phis: Mapping[str, Tensor], head: str) -> pd.DataFrame:
    """One row per source and target."""
    scores = {
        (source, target): _score(c, delta, phi, target, head == "refitted" and source != target)
        for source, phi in phis.items()
        for target in phis
    }
    label = c.label if head == "transferred" else f"{c.label}, head {head}"
    rows = []
    for (source, target), score in scores.items():
        own, chance = scores[target, target], _chance(c, target)
        learned = own - chance >= LEARNED
        rows.append(
            {"label": label, "kind": kind_of(c.method["method"]), "head": head, "source": source, "target": target,
             "source_type": TYPES.get(source, source), "target_type": TYPES.get(target, target), "score": score,
             "own": own, "chance": chance, "relative": (score - chance) / (own - chance) if learned else np.nan}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _score(c: Transfer, delta: Delta, phi: Tensor, target: str, refitted: bool) -> float:
    """Score on the target: of φ as it is, or of its body with a head trained on the target."""
    encoded = c.data(target).encode(delta.plm, max_length=c.max_length)
    if refitted:
        delta = LinearProbe().on(settled(delta.plm, delta.overrides(phi)))
        phi = fit(
            delta, encoded, steps=c.steps, lr=c.head_lr, batch_size=c.batch_size, seed=c.seed,
            evaluation_size=c.n_validation, train_evaluations="last",
        ).phi  # fmt: skip
    return evaluate(delta, encoded, phi, c.judged, size=c.n_validation if c.judged == "validation" else None)[1]


def _chance(c: Transfer, target: str) -> float:
    """Score of always answering the more frequent class of the examples that are scored."""
    labels = np.asarray(getattr(c.data(target), c.judged).labels)
    return float(np.bincount(labels).max() / len(labels))


def _means(table: pd.DataFrame) -> dict[str, float]:
    """Mean relative transfer inside types and across them, of the first treatment of the head."""
    off = table[(table["head"] == table["head"].iloc[0]) & (table.source != table.target)]
    inside = off.source_type == off.target_type
    return {"inside": float(off.relative[inside].mean()), "across": float(off.relative[~inside].mean())}


def _similarities(delta: Delta, phis: Mapping[str, Tensor], table: pd.DataFrame) -> pd.DataFrame:
    """One row per pair of tasks: cosine and subspace similarity of the updates, mean transfer of both directions."""
    updates = {task: update_of(delta, phi) for task, phi in phis.items()}
    if not all(updates.values()):
        return pd.DataFrame()  # the linear probe updates nothing but its head
    rows = []
    for a, b in combinations(phis, 2):
        similarity, random = update_subspace_similarity(updates[a], updates[b])
        both = table[((table.source == a) & (table.target == b)) | ((table.source == b) & (table.target == a))]
        types = "inside" if TYPES.get(a, a) == TYPES.get(b, b) else "across"
        rows += [
            {"label": label, "pair": f"{a} · {b}", "types": types, "cosine": update_cosine(updates[a], updates[b]),
             "subspace": similarity, "random": random, "transfer": part.relative.mean()}
            for label, part in both.groupby("label", sort=False)
        ]  # fmt: skip
    return pd.DataFrame(rows)


def claims(found: Sequence[Finding[Transfer]]) -> list[Verdict]:
    """Inside against across types, and whether likeness of updates tells transfer: exact tests, tasks are the units."""
    c = found[0].config
    seeds = ", ".join(map(str, sorted({finding.config.seed for finding in found})))
    where = (
        f"{c.model}; {', '.join(c.tasks)}; seeds {seeds}; {c.steps} steps of {c.batch_size} × {c.max_length} tokens; "
        "head transferred with φ"
    )
    shared: dict[str, Any] = {"source": SOURCE, "threshold": 0.0, "side": "above", "setting": where, "number": 9}
    deltas = [
        f for f in found if {"inside", "across"} <= set(f.metrics) and kind_of(f.config.method["method"]) == "delta"
    ]
    verdicts = []
    if deltas:
        by_type = transfer_by_type(deltas)
        verdicts.append(
            Verdict(
                claim="Zero-shot transfer is better inside a type of task than across types.",
                quantity="relative transfer inside types minus across types, mean over pairs of tasks, methods and "
                f"seeds; {_exact(by_type, len(c.tasks))} [1]",
                measured=by_type.interval(len(c.tasks), largest=inf), figure="transfer", **shared,
            )
        )  # fmt: skip
    pairs = similarity_of(deltas)
    tasks = len({task for pair in pairs.index for task in pair.split(" · ")})
    for column, name in (("cosine", "cosine"), ("subspace", "subspace similarity")):
        if len(pairs) and (test := likeness_test(pairs[column], pairs.transfer)) is not None:
            verdicts.append(
                Verdict(
                    claim=f"The {name} of two updates tells how well the deltas transfer between their tasks.",
                    quantity=f"Spearman's ρ between {name} and relative transfer over pairs of tasks, means over runs; "
                    f"{_exact(test, tasks)} [1]",
                    measured=test.interval(tasks), figure="transfer_similarity", **shared,
                )
            )  # fmt: skip
    return verdicts


def transfer_by_type(found: Sequence[Finding[Transfer]]) -> Relabelling:
    """Mean relative transfer inside types minus across them, against the same with the types dealt out otherwise.

    The statement is about tasks, and the tasks are the units: methods and seeds on the same tasks are averaged.
    """
    tables = [finding.tables["transfer"] for finding in found]
    table = pd.concat([table[table["head"] == table["head"].iloc[0]] for table in tables], ignore_index=True)
    table = table[(table.source != table.target) & table.relative.notna()]
    means = table.groupby(["source", "target"]).relative.mean()
    types = {**dict(zip(table.source, table.source_type, strict=True)),
             **dict(zip(table.target, table.target_type, strict=True))}  # fmt: skip
    tasks = sorted(types)
    sources, targets = ([tasks.index(task) for task in means.index.get_level_values(end)] for end in (0, 1))
    values = means.to_numpy()

    def inside_minus_across(order: np.ndarray) -> float:
        dealt = np.array([types[tasks[i]] for i in order])
        inside = dealt[sources] == dealt[targets]
        return float(values[inside].mean() - values[~inside].mean()) if 0 < inside.sum() < len(inside) else np.nan

    return relabelled(inside_minus_across, len(tasks))


def _exact(test: Relabelling, n: int) -> str:
    kind = "exact" if test.exact else "permutation"
    return f"{kind} test over {n} tasks: p = {test.p_value:.3f}, the smallest possible {test.attainable:.3f}"


def similarity_of(found: Sequence[Finding[Transfer]]) -> pd.DataFrame:
    """Pairs of tasks: means over runs of transfer and of the ranks of cosine and similarity within each run."""
    tables = [
        finding.tables["transfer_similarity"].assign(seed=finding.config.seed)
        for finding in found
        if "transfer_similarity" in finding.tables
    ]
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables).dropna(subset=["transfer", "cosine", "subspace"])
    runs = table.groupby(["label", "seed"])
    ranks = runs[["cosine", "subspace"]].rank(pct=True)  # methods differ in level, pairs in order
    return table.assign(**ranks).groupby("pair")[["cosine", "subspace", "transfer"]].mean()


_DEMO = Plan(
    model="minilm", tasks=("rotten-tomatoes", "imdb", "next-sentence", "same-topic"), steps=128, n_train=1024,
    n_validation=200, max_length=32,
)  # fmt: skip

EXPERIMENT = Experiment(
    name="transfer",
    question="to which tasks does a trained delta transfer, and does the likeness of two updates tell how well?",
    source="Ding et al. 2022, task-level transferability: good inside a type of task, poor across types.",
    varied="the method, the source task, the target task.",
    tuned="step sizes near those that `performance` found (its gallery records); of LoRA and adapter half a decade "
    "below, as the best ones are next to those that fail, and on same-topic LoRA's failed.",
    fixed="PLM, steps, batch size, sequence length, seed; all tasks have two classes, so that φ fits every target.",
    expected="high inside sentiment; near chance across types, where the two classes mean different things.",
    cost="demo: a quarter of an hour on one quiet core (MiniLM, 4 tasks, 4 methods and the linear probe). smoke: "
    "seconds.",
    view="methods",
    config=Transfer,
    scales={
        "smoke": Plan(
            model="tiny-bert", tasks=("rotten-tomatoes", "imdb"), steps=2, n_train=32, n_validation=16, max_length=8,
            batch_size=4, heads=HEADS, prompt_tokens=4,
        ),
        "demo": _DEMO,
        "paper": replace(
            _DEMO, tasks=(*_DEMO.tasks, "bigram-shift"), steps=2000, n_train=None, n_validation=1000, max_length=128,
            batch_size=32, heads=HEADS, prompt_tokens=100,
        ),
    },
    measure=measure,
    figures=("transfer", "transfer_similarity"),
    claims=claims,
    replicates=("label", "method", "lr", "seed"),
)  # fmt: skip
