"""What a delta trained on one task does on another without further training.

Question: to which tasks does a trained delta transfer, and does the likeness of two updates tell how well?
Source: Ding et al. 2022, task-level transferability: good inside a type of task, poor across types.
Varied: the method, the source task, the target task.
Tuned: step sizes near those that `performance` found (its gallery records); of LoRA and adapter half a decade below, as
    the best ones are next to those that fail, and on same-topic LoRA's failed.
Fixed: PLM, steps, batch size, sequence length, seed; all tasks have two classes, so that φ fits every target.
Expected: high inside sentiment; near chance across types, where the two classes mean different things.
Cost: demo: a quarter of an hour on one quiet core (MiniLM, 4 tasks, 4 methods and the linear probe). smoke: seconds.

An encoder's classification head is new and belongs to a task. It goes with φ ("transferred": zero-shot, which also asks
whether class 1 means alike), or only the body goes and a head is trained on the target ("refitted": what the body is
worth there). The linear probe is the null of the first: its body is the PLM's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.performance import kind_of
from experiments.training_run import child_job, plm_of, subset
from experiments.training_run import measure as train
from lab.deltas import Adapter, Delta, DeltaMethod, LinearProbe, LoRA, Prefix, Prompt, method_from_json
from lab.execution import Local
from lab.geometry import update_cosine, update_of, update_subspace_similarity
from lab.models import settled
from lab.runs import Job, Record, Store
from lab.runs.record import Scalar
from lab.statistics import Interval, Verdict, mean_interval, rank_correlation_interval
from lab.training import evaluate, fit

NAME = "transfer"
FIGURES = ("transfer", "transfer_similarity")

SOURCE = "Ding et al. 2022, task-level transferability"
TYPES = {
    "rotten-tomatoes": "sentiment",
    "imdb": "sentiment",
    "bigram-shift": "form",
    "next-sentence": "pairs",
    "same-topic": "pairs",
}
"""Task -> its type; a task of another name is a type of its own."""

LEARNED = 0.05
"""Score above chance from which on a target counts as learned, so that a share of it means something."""


@dataclass(frozen=True)
class Scale:
    """Everything a scale fixes."""

    model: str
    tasks: tuple[str, ...]
    steps: int
    n_train: int | None
    n_validation: int
    max_length: int
    heads: tuple[str, ...] = ("transferred",)
    batch_size: int = 16
    head_lr: float = 1e-2
    prompt_tokens: int = 20


_TASKS = ("rotten-tomatoes", "imdb", "next-sentence", "same-topic", "bigram-shift")
SCALES = {
    "smoke": Scale(
        "tiny-bert", ("rotten-tomatoes", "imdb"), steps=2, n_train=32, n_validation=16, max_length=8,
        batch_size=4, heads=("transferred", "refitted"), prompt_tokens=4,
    ),
    "demo": Scale("minilm", _TASKS[:4], steps=128, n_train=1024, n_validation=200, max_length=32),
    "paper": Scale(
        "minilm", _TASKS, steps=2000, n_train=None, n_validation=1000, max_length=128, batch_size=32,
        heads=("transferred", "refitted"), prompt_tokens=100,
    ),
}  # fmt: skip


def compared(scale: Scale) -> dict[str, tuple[DeltaMethod, float]]:
    """Label -> the method and its step size."""
    return {
        "LoRA": (LoRA(rank=8), 3e-3),
        "adapter": (Adapter(bottleneck=64, activation="silu", placement="houlsby"), 1e-3),
        "prefix": (Prefix(tokens=5), 1e-1),
        "prompt": (Prompt(tokens=scale.prompt_tokens), 1e-2),
        "linear probe": (LinearProbe(), scale.head_lr),
    }


def jobs(
    scale: str,
    *,
    model: str | None = None,
    tasks: tuple[str, ...] | None = None,
    methods: tuple[str, ...] | None = None,
    heads: tuple[str, ...] | None = None,
    seed: int = 0,
) -> list[Job]:
    """One matrix of source × target per method.

    Args:
        scale: "smoke", "demo" or "paper".
        model: name for `load_plm`; default: the scale's.
        tasks: names or paths for `load_task`, of two classes each; default: the scale's.
        methods: labels of `compared`; default: all.
        heads: "transferred", "refitted" or both; default: the scale's.
        seed: of the head, the method's start and the order of examples; one for all tasks, so that updates compare.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {sorted(SCALES)}.")
    base = SCALES[scale]
    chosen = replace(base, model=model or base.model, tasks=tasks or base.tasks, heads=heads or base.heads)
    known = compared(chosen)
    labels = methods or tuple(known)
    if unknown := sorted(set(labels) - set(known)):
        raise ValueError(f"unknown methods {unknown}; choose from {', '.join(known)}.")
    if unknown := sorted(set(chosen.heads) - {"transferred", "refitted"}):
        raise ValueError(f"unknown treatment of the head {unknown}; choose from transferred, refitted.")
    config = {name: value for name, value in asdict(chosen).items() if name != "prompt_tokens"}
    return [
        Job(NAME, config | {"label": name, "method": known[name][0].to_json(), "lr": known[name][1], "seed": seed})
        for name in labels
    ]


def measure(job: Job, store: Store) -> Record:
    """Train on every source, evaluate on every target, compare the updates."""
    c = job.config
    for task in c["tasks"]:
        if (n := subset(task, c["n_train"], None).num_labels) != 2:
            raise ValueError(f"transfer needs tasks of two classes, so that φ fits them all; {task!r} has {n}.")
    probe = c["method"]["method"] == "linear-probe"
    given = {"method": c["method"], "seed": c["seed"], "lr": c["lr"], "head_lr": None if probe else c["head_lr"]}
    children = [child_job(c, task=task, **given) for task in c["tasks"]]
    records = Local(store).run(children, train, label=f"{NAME} {c['label']}")
    delta = method_from_json(c["method"]).on(plm_of(c["model"], 2, c["seed"], "pretrained"), seed=c["seed"])
    phis = {
        record.job.config["task"]: torch.as_tensor(record.arrays["phi"], device=delta.plm.device) for record in records
    }
    table = pd.concat([_matrix(delta, phis, c, head) for head in c["heads"]], ignore_index=True)
    metrics: dict[str, Scalar] = {"metric": records[0].metrics["metric"], "tunable": delta.counts.trained}
    metrics |= {name: value for name, value in _means(table).items() if value == value}
    pairs = _similarities(delta, phis, table)
    return Record(job, metrics, {NAME: table, **({"transfer_similarity": pairs} if len(pairs) else {})})


def _matrix(delta: Delta, phis: dict[str, Tensor], c: dict[str, Any], head: str) -> pd.DataFrame:
    """One row per source and target."""
    scores = {
        (source, target): _score(delta, phi, target, source == target, c, head)
        for source, phi in phis.items()
        for target in phis
    }
    label = c["label"] if head == "transferred" else f"{c['label']}, head {head}"
    rows = []
    for (source, target), score in scores.items():
        own = scores[target, target]
        chance = _chance(target, c)
        learned = own - chance >= LEARNED
        rows.append(
            {"label": label, "kind": kind_of(c["method"]["method"]), "head": head, "source": source, "target": target,
             "source_type": TYPES.get(source, source), "target_type": TYPES.get(target, target), "score": score,
             "own": own, "chance": chance, "relative": (score - chance) / (own - chance) if learned else np.nan}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _score(delta: Delta, phi: Tensor, target: str, same: bool, c: dict[str, Any], head: str) -> float:
    """Validation score on the target: of φ as it is, or of its body with a head trained on the target."""
    encoded = subset(target, c["n_train"], c["n_validation"]).encode(delta.plm, max_length=c["max_length"])
    if head == "refitted" and not same:
        probe = LinearProbe().on(settled(delta.plm, delta.overrides(phi)))
        return fit(
            probe, encoded, steps=c["steps"], lr=c["head_lr"], batch_size=c["batch_size"], seed=c["seed"],
            evaluation_size=c["n_validation"], train_evaluations="last",
        ).score  # fmt: skip
    return evaluate(delta, encoded, phi, "validation", size=c["n_validation"])[1]


def _chance(target: str, c: dict[str, Any]) -> float:
    """Score of always answering the more frequent class of the validation examples."""
    labels = np.asarray(subset(target, c["n_train"], c["n_validation"]).validation.labels)
    return float(np.bincount(labels).max() / len(labels))


def _means(table: pd.DataFrame) -> dict[str, float]:
    """Mean relative transfer inside types and across them, of the first treatment of the head."""
    off = table[(table["head"] == table["head"].iloc[0]) & (table.source != table.target)]
    inside = off.source_type == off.target_type
    return {"inside": float(off.relative[inside].mean()), "across": float(off.relative[~inside].mean())}


def _similarities(delta: Delta, phis: dict[str, Tensor], table: pd.DataFrame) -> pd.DataFrame:
    """One row per pair of tasks: cosine and subspace similarity of the updates, mean transfer of both directions."""
    updates = {task: update_of(delta, phi) for task, phi in phis.items()}
    if not all(updates.values()):
        return pd.DataFrame()  # the linear probe updates nothing but its head
    rows = []
    for a, b in combinations(phis, 2):
        similarity, random = update_subspace_similarity(updates[a], updates[b])
        both = table[((table.source == a) & (table.target == b)) | ((table.source == b) & (table.target == a))]
        for label, part in both.groupby("label", sort=False):
            types = (TYPES.get(a, a), TYPES.get(b, b))
            rows.append(
                {"label": label, "pair": f"{a} · {b}", "types": "inside" if types[0] == types[1] else "across",
                 "cosine": update_cosine(updates[a], updates[b]), "subspace": similarity, "random": random,
                 "transfer": part.relative.mean()}
            )  # fmt: skip
    return pd.DataFrame(rows)


REPLICATES = ("label", "method", "lr", "seed")
"""What differs between records that are judged together."""


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """Inside against across types, over methods; and whether likeness of updates tells transfer, over pairs."""
    c = records[0].job.config
    seeds = ", ".join(map(str, sorted({record.job.config["seed"] for record in records})))
    where = (
        f"{c['model']}; {', '.join(c['tasks'])}; seeds {seeds}; {c['steps']} steps of {c['batch_size']} × "
        f"{c['max_length']} tokens; head transferred with φ"
    )
    shared: dict[str, Any] = {"number": 9}
    deltas = [record for record in records if "inside" in record.metrics and "across" in record.metrics]
    deltas = [record for record in deltas if kind_of(record.job.config["method"]["method"]) == "delta"]
    found = []
    if deltas:
        labels = [record.job.config["label"] for record in deltas]
        differences = pd.Series([_number(record, "inside") - _number(record, "across") for record in deltas])
        claim = "Zero-shot transfer is better inside a type of task than across types."
        quantity = (
            "relative transfer inside types minus across types, mean over pairs of tasks and seeds; interval over "
            "methods [1]"
        )
        measured = mean_interval(list(differences.groupby(labels).mean()))  # seeds averaged within each method
        found.append(Verdict(claim, SOURCE, quantity, measured, 0.0, "above", where, NAME, **shared))
    pairs = similarity_of(deltas)
    for column, name in (("cosine", "cosine"), ("subspace", "subspace similarity")):
        if len(pairs) > 3:
            claim = f"The {name} of two updates tells how well the deltas transfer between their tasks."
            quantity = f"Spearman's ρ between {name} and relative transfer over pairs of tasks, means over runs [1]"
            measured = _correlation(pairs, column)
            found.append(Verdict(claim, SOURCE, quantity, measured, 0.0, "above", where, FIGURES[1], **shared))
    return found


def similarity_of(records: Sequence[Record]) -> pd.DataFrame:
    """Pairs of tasks: means over runs of transfer and of the ranks of cosine and similarity within each run."""
    tables = [
        record.tables["transfer_similarity"].assign(seed=record.job.config["seed"])
        for record in records
        if "transfer_similarity" in record.tables
    ]
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables).dropna(subset=["transfer", "cosine", "subspace"])
    runs = table.groupby(["label", "seed"])
    ranks = runs[["cosine", "subspace"]].rank(pct=True)  # methods differ in level, pairs in order
    return table.assign(**ranks).groupby("pair")[["cosine", "subspace", "transfer"]].mean()


def _number(record: Record, name: str) -> float:
    return float(record.metrics[name])  # type: ignore[arg-type]


def _correlation(pairs: pd.DataFrame, column: str) -> Interval:
    return rank_correlation_interval(list(pairs[column]), list(pairs.transfer))


def summary(store: Store, records: list[Record]) -> str:
    """Relative transfer inside and across types per method, and the verdicts."""
    lines = [
        f"{'method':14s}{'inside':>10s}{'across':>10s}{'own score':>11s}   (transfer relative to the target's own)"
    ]
    for record in records:
        table, m = record.tables[NAME], record.metrics
        inside, across = (f"{m[name]:10.2f}" if name in m else f"{'–':>10s}" for name in ("inside", "across"))
        own = fmean(table.score[table.source == table.target])
        lines.append(f"{record.job.config['label']:14s}{inside}{across}{own:11.3f}")
    answers = [f"{v.answer:20s} {v.claim} ({v.measured.estimate:+.2f})" for v in verdicts(records)]
    return "\n".join([*lines, "", *answers])
