"""The generalisation gap of each delta method, beside the bound that grows with the number of tunable parameters.

The runs of single methods are those of `performance`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from experiments import performance
from lab.deltas import Combination
from lab.geometry import compression_bound
from lab.statistics import Evidence, Verdict, rank_correlation_interval
from lab.statistics.comparison import JOINED, above_parts, metric_name, over_tasks, unit_of
from lab.statistics.gaps import gap_verdicts
from lab.study import TRAINING_RUN, Experiment, Finding, Lab, Result, TrainingRun, reported, setting
from lab.study.comparison import Comparison, compared_runs, joined, methods_of, told

SOURCE = "Ding et al. 2022, generalisation gap"
PAIRS = (("LoRA", "prefix"), ("adapter", "BitFit"), ("adapter", "added biases"))
"""What is combined, where both are compared alone. The source's own combinations are those of `combination`."""


@dataclass(frozen=True, kw_only=True)
class WithPairs(Comparison):
    """A comparison with combinations of two methods beside the methods alone."""

    combinations: tuple[tuple[str, ...], ...] = setting("pairs of labels to combine", ())


@dataclass(frozen=True, kw_only=True)
class Plan(performance.Plan):
    """One comparison per task."""

    def configs(self) -> tuple[WithPairs, ...]:
        return tuple(
            c.to(WithPairs, combinations=tuple(pair for pair in PAIRS if set(methods_of(c)).issuperset(pair)))
            for c in super().configs()
        )


def measure(c: WithPairs, lab: Lab) -> Result:
    """Score on the training examples minus score on the held-out ones, after the last step."""
    single = compared_runs(c, lab)
    both = replace(single, runs=single.runs | _combined_runs(c, lab, single.step_sizes))
    n_train = len(c.data.train)
    table = gaps([row | {"n_train": n_train} for row in both.rows()])
    means = table.groupby("label", sort=False)["gap"].mean()
    metrics = {
        "metric": table["metric"].iloc[0],
        "largest": str(means.idxmax()),
        "largest_gap": float(means.max()),
        "smallest": str(means.idxmin()),
        "smallest_gap": float(means.min()),
    }
    return Result(metrics, {"generalization_gap": table})


def _combined_runs(c: WithPairs, lab: Lab, step_sizes: Mapping[str, float]) -> dict[str, list[Finding[TrainingRun]]]:
    """Label -> runs in the order of the seeds: every pair of methods at once, each with its own step size."""
    methods = methods_of(c)
    children = []
    for pair in c.combinations:
        sizes = [step_sizes[name] for name in pair]
        whole = Combination(tuple(methods[name] for name in pair), tuple(size / min(sizes) for size in sizes))
        children += [c.run(whole.to_json(), seed, min(sizes)) for seed in c.seeds]
    runs = lab.run(TRAINING_RUN, children, f"combinations on {c.task}")
    n = len(c.seeds)
    return {JOINED.join(pair): runs[i * n : (i + 1) * n] for i, pair in enumerate(c.combinations)}


def gaps(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The table of the figure: one row per run, from rows that hold its `run` and `n_train` beside what names it."""
    out = []
    for row in rows:
        kept = {name: value for name, value in row.items() if name != "run"}
        train, held_out = row["run"].metrics["train_score"], reported(row["run"])
        bound = compression_bound(int(row["tunable"]), int(row["n_train"]))
        out.append(kept | {"train_score": train, "validation_score": held_out, "gap": train - held_out, "bound": bound})
    return pd.DataFrame(out)


def claims(found: Sequence[Finding[WithPairs]]) -> list[Verdict]:
    """Every delta beside full fine-tuning, prompt beside every other, combinations, and whether gaps follow √d."""
    table, where = joined(found, "generalization_gap"), told(found)
    evidence = Evidence(SOURCE, where, "generalization_gap", unit_of(table), 8)
    unit, verdicts = f"[{metric_name(table)}]", gap_verdicts(table, evidence)
    if above := above_parts(table):
        combined = evidence.above(
            0.0, over_tasks(above), "Combinations have a larger generalisation gap than single deltas.",
            f"gap of two deltas at once minus the mean gap of the two alone, mean over the pairs {unit}",
        )  # fmt: skip
        verdicts.append(combined)
    by_method = table[~table.kind.isin(["null", "combination"])].groupby("label")[["tunable", "gap"]].mean()
    if len(by_method) > 3:
        grows = evidence.above(
            0.0, rank_correlation_interval(list(by_method.tunable), list(by_method.gap)),
            "The generalisation gap grows with the number of tunable parameters, as √(d/n) does.",
            "Spearman's ρ between tunable parameters and mean gap over methods [1]",
            source="Aghajanyan et al. 2020, section 5.2", setting=f"{len(by_method)} methods; {where}", unit="methods",
            number=None,
        )  # fmt: skip
        verdicts.append(grows)
    return verdicts


EXPERIMENT = Experiment(
    name="generalization_gap",
    question="do delta methods, alone or together, generalise better than full fine-tuning; does the gap follow "
    "√(d/n)?",
    source="Ding et al. 2022, generalisation gap; Aghajanyan et al. 2020, section 5.2: L₀(f) ≤ L̂₀(f) + O(√(d/n)).",
    varied="the method, single or two at once, the task, the seed.",
    tuned="each method's step size, as in `performance`; kept when two are combined.",
    fixed="everything else; the runs of single methods are those of `performance`.",
    expected="full fine-tuning has the largest gap, prompt the smallest, two deltas a larger one than each alone; the "
    "bound is far above every gap.",
    cost="demo: 6 minutes on one quiet core for the combinations (18 runs) beside `performance`, whose training runs "
    "it reads; without those, as much as that and more. smoke: seconds.",
    view="methods",
    config=WithPairs,
    scales={name: plan.to(Plan) for name, plan in performance.SCALES.items()},
    measure=measure,
    figures=("generalization_gap",),
    claims=claims,
    replicates=("task", "seeds"),
)
