"""Verdicts on merging: which merge keeps more of the tasks, and whether principal angles tell what a merge costs."""

from __future__ import annotations

from lab.deferred import pandas as pd
from lab.statistics.out_of_sample import skill
from lab.statistics.ratio import Parts, parts_of, share_interval
from lab.statistics.verdict import Evidence, Verdict

MEAN, ARITHMETIC, TIES, DARE = "mean", "task arithmetic", "TIES", "DARE"
SUBSPACE, LEAST_SQUARES, UNTOUCHED = "subspace", "least squares", "untouched PLM"
SOURCES = {
    ARITHMETIC: "Ilharco et al. 2023",
    TIES: "Yadav et al. 2023",
    DARE: "Yu et al. 2024",
    SUBSPACE: "the design of this laboratory",
    LEAST_SQUARES: "Jin et al. 2023",
}


def kept_more(table: pd.DataFrame, merge: str, other: str = MEAN) -> Parts:
    """Task -> its score under one merge minus that under another, and its own change's gain over chance.

    Args:
        table: merge, task, score, own, chance.
        merge, other: names of merges.
    """
    wide = table.pivot_table(index="task", columns="merge", values="score", sort=False)
    if not {merge, other} <= set(wide.columns):
        return {}
    whole = table.groupby("task", sort=False)[["own", "chance"]].mean()
    return parts_of((wide[merge] - wide[other]).dropna(), whole["own"] - whole["chance"])


def merging_verdicts(merged: pd.DataFrame, pairs: pd.DataFrame, setting: str) -> list[Verdict]:
    """Every merge against the plain mean, and the forecast of interference against nulls that can win.

    Args:
        merged: merge, task, score, own, chance.
        pairs: one, other, overlap [‖ΔW_jP_i‖²], size [‖ΔW_j‖²], excess [nats].
        setting: what the measurement covers.
    """
    verdicts = [
        Evidence(f"merging, after {source}", setting, "merging", "tasks").above(
            0.0, share_interval(gains),
            f"Merging many tasks by {merge} keeps more of what they gained than the mean of the changes does.",
            "part of the tasks' own gain over chance that is kept beyond what the mean of the changes keeps, "
            "Σ(score − the mean's score)/Σ(own − chance) over all tasks; interval over tasks [1]",
        )
        for merge, source in SOURCES.items()
        if (gains := kept_more(merged, merge))
    ]  # fmt: skip
    if pairs[["one", "other"]].stack().nunique() < 5:
        return verdicts
    evidence = Evidence("merging, after the design of this laboratory", setting, "interference", "tasks")
    return verdicts + [
        evidence.above(
            0.0, skill(pairs, "overlap", "excess", null),
            f"Principal angles between two changes tell what adding one costs the other's task, better than {name}.",
            "part of the null's squared error that ‖ΔW_jP_i‖² removes, on pairs of tasks that the line has not seen; "
            "jackknife over tasks [1]",
        )
        for null, name in ((None, "the mean over pairs"), ("size", "the size ‖ΔW_j‖² of the other change"))
    ]  # fmt: skip
