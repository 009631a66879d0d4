"""How fast each delta method gets where it gets, in steps and in seconds.

Question: which methods converge faster, and does the number of tunable parameters decide how fast?
Source: Ding et al. 2022, figure 8 (T5-base): FT > adapter ≈ LoRA > prefix; insensitive to the number of parameters.
Varied: the method, the task, the seed.
Tuned: each method's step size, as in `performance`.
Fixed: everything else; the runs are those of `performance`.
Expected: full fine-tuning first, prefix and prompt last.
Cost: nothing beyond `performance`, whose training runs it reads; alone, as much as that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments import performance
from experiments.performance import HALF_OF_RANK_VARIANCE, compared_runs, joined, over_tasks, setting
from lab.runs import Job, Record, Store
from lab.statistics import Verdict, absolute, rank_correlation_interval
from lab.statistics.convergence import SHARE, reaching, steps_to_common_level

NAME = "convergence"
FIGURES = ("convergence",)

SOURCE = "Ding et al. 2022, figure 8"
PAIRS = (
    ("adapter", "full fine-tuning", 3),
    ("prefix", "adapter", 3),
    ("prefix", "LoRA", 3),
    ("prompt", "full fine-tuning", 4),
    ("prompt", "LoRA", 4),
)
"""The slower, the faster, and the number of the claim that says so."""
REPLICATES = performance.REPLICATES


jobs = performance.jobs_of(NAME)


def measure(job: Job, store: Store) -> Record:
    """The validation scores of every run, evaluation by evaluation."""
    parts = []
    for row in compared_runs(job, store).rows():
        history = row.pop("record").tables["history"]
        seen = history.loc[history.split == "validation", ["step", "seconds", "score"]]
        parts.append(seen.assign(**row))
    table = pd.concat(parts, ignore_index=True)
    found = reaching(table)
    fastest = found.groupby("label", sort=False)["steps"].mean()
    metrics = {
        "metric": table["metric"].iloc[0],
        "fastest": str(fastest.idxmin()),
        "fewest_steps": float(fastest.min()),
    }
    return Record(job, metrics, {NAME: table})


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """The source's order of speed pair by pair, and whether the number of tunable parameters decides it."""
    table = joined(records, NAME)
    shared: dict[str, Any] = {"figure": NAME, "number": 3}
    quantity = f"steps to {SHARE:.0%} of the lower of the two last scores: {{}} minus {{}} [step]"
    found = []
    for slower, faster, number in PAIRS:
        if differences := steps_to_common_level(table, slower, faster):
            claim = f"{faster[0].upper()}{faster[1:]} converges faster than {slower}."
            told, measured = quantity.format(slower, faster), over_tasks(differences)
            where = setting(records)
            found.append(Verdict(claim, SOURCE, told, measured, 0.0, "above", where, NAME, number=number))
    if differences := steps_to_common_level(table, "LoRA", "adapter"):
        between = float(table.step.drop_duplicates().sort_values().diff().min())
        claim = "LoRA and adapter converge equally fast, to within the distance of two evaluations."
        told = "absolute " + quantity.format("LoRA", "adapter")
        measured = absolute(over_tasks(differences))
        found.append(Verdict(claim, SOURCE, told, measured, between, "below", setting(records), **shared))
    deltas = reaching(table[table.kind == "delta"]).groupby("label")[["tunable", "steps"]].mean()
    if len(deltas) > 3:
        claim = "Among delta methods, the number of tunable parameters does not decide the speed of convergence."
        told = (
            f"Spearman's ρ between tunable parameters and −(steps to {SHARE:.0%} of a run's own last score) [1]; below "
            "0.71 the number explains less than half of the variance of the ranks"
        )
        measured = rank_correlation_interval(list(deltas.tunable), list(-deltas.steps))
        where = f"{len(deltas)} delta methods; {setting(records)}"
        found.append(Verdict(claim, SOURCE, told, measured, HALF_OF_RANK_VARIANCE, "below", where, **shared))
    return found


def summary(store: Store, records: list[Record]) -> str:
    """Steps and seconds to 95 % of each run's own last score, means over tasks and seeds, fastest first."""
    found = reaching(joined(records, NAME)).groupby("label")[["steps", "time", "tunable"]].mean().sort_values("steps")
    head = f"{'method':18s}{'steps':>8s}{'seconds':>10s}{'tunable':>14s}   (to {SHARE:.0%} of a run's own last score)"
    lines = [f"{label:18s}{row.steps:8.1f}{row.time:10.1f}{row.tunable:14,.0f}" for label, row in found.iterrows()]
    answers = [f"{v.answer:20s} {v.claim} ({v.measured.estimate:+.2f})" for v in verdicts(records)]
    return "\n".join([head, *lines, "", *answers])
