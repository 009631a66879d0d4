"""The generalisation gap of each delta method, beside the bound that grows with the number of tunable parameters.

Question: do delta methods, alone or together, generalise better than full fine-tuning; does the gap follow √(d/n)?
Source: Ding et al. 2022, generalisation gap; Aghajanyan et al. 2020, section 5.2: L₀(f) ≤ L̂₀(f) + O(√(d/n)).
Varied: the method, single or two at once, the task, the seed.
Tuned: each method's step size, as in `performance`; beside another it keeps it.
Fixed: everything else; the runs of single methods are those of `performance`.
Expected: full fine-tuning has the largest gap, prompt the smallest, two deltas a larger one than each alone; the bound
    is far above every gap.
Cost: demo: 6 minutes on one quiet core for the combinations (18 runs) beside `performance`, whose training runs it
    reads; without those, as much as that and more. smoke: seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import wraps
from statistics import fmean
from typing import Any

import pandas as pd

from experiments import performance
from experiments.performance import child, compared_runs, joined, method_json, metric_name, over_tasks, paired, setting
from experiments.training_run import measure as train
from lab.deltas import Combination, method_from_json
from lab.execution import Local
from lab.geometry import compression_bound
from lab.runs import Job, Record, Store
from lab.statistics import Verdict, rank_correlation_interval
from lab.tasks import load_task

NAME = "generalization_gap"
FIGURES = ("generalization_gap",)

SOURCE = "Ding et al. 2022, generalisation gap"
REPLICATES = performance.REPLICATES
PAIRS = (("LoRA", "prefix"), ("adapter", "BitFit"), ("adapter", "added biases"))
"""What is combined, where both are compared alone. The source's own combinations are those of `combination`."""
JOINED = " + "


@wraps(performance.jobs)
def jobs(scale: str, **options: Any) -> list[Job]:
    return [Job(NAME, _with_pairs(job.config)) for job in performance.jobs(scale, **options)]


def _with_pairs(config: Mapping[str, Any]) -> dict[str, Any]:
    labels = {entry["label"] for entry in config["methods"]}
    pairs = [list(pair) for pair in PAIRS if labels.issuperset(pair)]
    return {**config, "combinations": pairs} if pairs else dict(config)


def measure(job: Job, store: Store) -> Record:
    """Score on the training examples minus score on the validation examples, after the last step."""
    n_train = job.config["n_train"] or len(load_task(job.config["task"]).train)
    single = compared_runs(job, store)
    both = replace(single, records=single.records | _combined_runs(job, store, single.step_sizes))
    table = gaps([row | {"n_train": n_train} for row in both.rows()])
    means = table.groupby("label", sort=False)["gap"].mean()
    metrics = {
        "metric": table["metric"].iloc[0],
        "largest": str(means.idxmax()),
        "largest_gap": float(means.max()),
        "smallest": str(means.idxmin()),
        "smallest_gap": float(means.min()),
    }
    return Record(job, metrics, {NAME: table})


def _combined_runs(job: Job, store: Store, step_sizes: Mapping[str, float]) -> dict[str, list[Record]]:
    """Label -> records in the order of the seeds: every pair of methods at once, each with its own step size."""
    c = job.config
    methods = {entry["label"]: method_from_json(method_json(entry)) for entry in c["methods"]}
    found = {}
    for pair in c.get("combinations", ()):
        label, sizes = JOINED.join(pair), [step_sizes[name] for name in pair]
        smallest = min(sizes)
        whole = Combination(tuple(methods[name] for name in pair), tuple(size / smallest for size in sizes))
        children = [child(whole.to_json(), c, c["task"], seed, smallest) for seed in c["seeds"]]
        found[label] = Local(store).run(children, train, label=f"{NAME} {c['task']} {label}")
    return found


def gaps(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The table of the figure: one row per run, from rows that hold its `record` and `n_train` beside what names it."""
    out = []
    for row in rows:
        kept = {name: value for name, value in row.items() if name != "record"}
        m = row["record"].metrics
        out.append(
            kept | {"train_score": m["train_score"], "validation_score": m["score"],
                    "gap": m["train_score"] - m["score"],
                    "bound": compression_bound(int(row["tunable"]), int(row["n_train"]))}
        )  # fmt: skip
    return pd.DataFrame(out)


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """Whether even the delta with the largest gap has a smaller one than full fine-tuning, and prompt the smallest."""
    table = joined(records, NAME)
    shared: dict[str, Any] = {"figure": NAME, "number": 8}
    unit = f"[{metric_name(table)}]"
    means = table[table.kind == "delta"].groupby("label")["gap"].mean().sort_values()
    found = []
    if len(means) and (differences := paired(table, "full fine-tuning", str(means.index[-1]), value="gap")):
        claim = "The generalisation gap of every single delta method is smaller than that of full fine-tuning."
        told = f"gap of full fine-tuning minus that of {means.index[-1]}, the delta method with the largest {unit}"
        measured = over_tasks(differences)
        found.append(Verdict(claim, SOURCE, told, measured, 0.0, "above", setting(records), **shared))
    others = means.drop("prompt", errors="ignore")
    if len(others) and (differences := paired(table, str(others.index[0]), "prompt", value="gap")):
        claim = "Prompt tuning has the smallest generalisation gap of all delta methods."
        told = f"gap of {others.index[0]}, the smallest of the other delta methods, minus that of prompt {unit}"
        measured = over_tasks(differences)
        found.append(Verdict(claim, SOURCE, told, measured, 0.0, "above", setting(records), **shared))
    if above := _above_parts(table):
        claim = "Combinations have a larger generalisation gap than single deltas."
        told = f"gap of two deltas at once minus the mean gap of the two alone, mean over the pairs {unit}"
        measured = over_tasks(above)
        found.append(Verdict(claim, SOURCE, told, measured, 0.0, "above", setting(records), **shared))
    by_method = table[~table.kind.isin(["null", "combination"])].groupby("label")[["tunable", "gap"]].mean()
    if len(by_method) > 3:
        claim = "The generalisation gap grows with the number of tunable parameters, as √(d/n) does."
        told = "Spearman's ρ between tunable parameters and mean gap over methods [1]"
        measured = rank_correlation_interval(list(by_method.tunable), list(by_method.gap))
        source = "Aghajanyan et al. 2020, section 5.2"
        where = f"{len(by_method)} methods; {setting(records)}"
        found.append(Verdict(claim, source, told, measured, 0.0, "above", where, NAME))
    return found


def _above_parts(table: pd.DataFrame) -> dict[str, list[float]]:
    """Task -> by how much the combinations' gap exceeds that of their parts, seed by seed; empty without any."""
    pairs = table.label[table.kind == "combination"].unique()
    wide = table.pivot_table(index=["task", "seed"], columns="label", values="gap")
    above = [wide[pair] - wide[pair.split(JOINED)].mean(axis=1) for pair in pairs]
    found: dict[str, list[float]] = {}
    for (task, _), values in pd.concat(above, axis=1).iterrows() if above else ():
        found.setdefault(str(task), []).append(fmean(values))
    return found


def summary(store: Store, records: list[Record]) -> str:
    """Gap per method beside the bound, largest first."""
    table = joined(records, NAME)
    means = table.groupby("label")[["tunable", "train_score", "validation_score", "gap", "bound"]].mean()
    head = f"{'method':18s}{'tunable':>14s}{'train':>9s}{'validation':>12s}{'gap':>9s}{'bound':>10s}"
    lines = [
        f"{label:18s}{row.tunable:14,.0f}{row.train_score:9.3f}{row.validation_score:12.3f}{row.gap:9.3f}{row.bound:10.1f}"
        for label, row in means.sort_values("gap", ascending=False).iterrows()
    ]
    answers = [f"{v.answer:20s} {v.claim} ({v.measured.estimate:+.3f})" for v in verdicts(records)]
    return "\n".join([head, *lines, "", *answers])
