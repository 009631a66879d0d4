"""How fast each delta method gets where it gets, in steps and in seconds; the runs are those of `performance`."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from experiments.performance import SCALES
from lab.statistics import Evidence, Verdict, absolute, rank_correlation_interval
from lab.statistics.comparison import HALF_OF_RANK_VARIANCE, over_tasks, unit_of
from lab.statistics.convergence import SHARE, reaching, steps_to_common_level
from lab.study import Experiment, Finding, Lab, Result
from lab.study.comparison import Comparison, compared_runs, joined, told

SOURCE = "Ding et al. 2022, figure 8"
PAIRS = (
    ("adapter", "full fine-tuning", 3),
    ("prefix", "adapter", 3),
    ("prefix", "LoRA", 3),
    ("prompt", "full fine-tuning", 4),
    ("prompt", "LoRA", 4),
)
"""The slower, the faster, and the number of the claim that says so."""
QUANTITY = f"steps to {SHARE:.0%} of the lower of the two last scores: {{}} minus {{}} [step]"


def measure(c: Comparison, lab: Lab) -> Result:
    """The validation scores of every run, evaluation by evaluation."""
    parts = []
    for row in compared_runs(c, lab).rows():
        history = row.pop("run").tables["history"]
        seen = history.loc[history.split == "validation", ["step", "seconds", "score"]]
        parts.append(seen.assign(**row))
    table = pd.concat(parts, ignore_index=True)
    fastest = reaching(table).groupby("label", sort=False)["steps"].mean().dropna()
    found = {"fastest": str(fastest.idxmin()), "fewest_steps": float(fastest.min())} if len(fastest) else {}
    metrics = {"metric": table["metric"].iloc[0], **found}
    return Result(metrics, {"convergence": table})


def _by_task(table: pd.DataFrame, first: str, second: str) -> dict[str, list[float]]:
    """Task -> what the first method takes longer, one value per seed."""
    return {task: list(seeds.values()) for task, seeds in steps_to_common_level(table, first, second).items()}


def claims(found: Sequence[Finding[Comparison]]) -> list[Verdict]:
    """The source's order of speed pair by pair, and whether the number of tunable parameters decides it."""
    table, where = joined(found, "convergence"), told(found)
    evidence = Evidence(SOURCE, where, "convergence", unit_of(table), 3)
    verdicts = [
        evidence.above(
            0.0, over_tasks(differences), f"{faster[0].upper()}{faster[1:]} converges faster than {slower}.",
            QUANTITY.format(slower, faster), number=number,
        )
        for slower, faster, number in PAIRS
        if (differences := _by_task(table, slower, faster))
    ]  # fmt: skip
    if differences := _by_task(table, "LoRA", "adapter"):
        between = float(table.step.drop_duplicates().sort_values().diff().min())
        alike = evidence.below(
            between, absolute(over_tasks(differences)),
            "LoRA and adapter converge equally fast, to within the distance of two evaluations.",
            "absolute " + QUANTITY.format("LoRA", "adapter"),
        )  # fmt: skip
        verdicts.append(alike)
    deltas = reaching(table[table.kind == "delta"]).groupby("label")[["tunable", "steps"]].mean()
    if len(deltas) > 3:
        decided = evidence.below(
            HALF_OF_RANK_VARIANCE, rank_correlation_interval(list(deltas.tunable), list(-deltas.steps)),
            "Among delta methods, the number of tunable parameters does not decide the speed of convergence.",
            f"Spearman's ρ between tunable parameters and −(steps to {SHARE:.0%} of a run's own last score) [1]; below "
            "0.71 the number explains less than half of the variance of the ranks",
            setting=f"{len(deltas)} delta methods; {where}", unit="methods",
        )  # fmt: skip
        verdicts.append(decided)
    return verdicts


EXPERIMENT = Experiment(
    name="convergence",
    question="which methods converge faster, and does the number of tunable parameters decide how fast?",
    source="Ding et al. 2022, figure 8 (T5-base): FT > adapter ≈ LoRA > prefix; insensitive to the number of "
    "parameters.",
    varied="the method, the task, the seed.",
    tuned="each method's step size, as in `performance`.",
    fixed="everything else; the runs are those of `performance`.",
    expected="full fine-tuning first, prefix and prompt last.",
    cost="nothing beyond `performance`, whose training runs it reads; alone, as much as that.",
    view="methods",
    config=Comparison,
    scales=SCALES,
    measure=measure,
    figures=("convergence",),
    claims=claims,
    replicates=("task", "seeds"),
)
