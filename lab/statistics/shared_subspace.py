"""What tasks share beyond nulls, and what coordinates in their subspace gain: one value per unseen task."""

from __future__ import annotations

from lab.deferred import pandas as pd
from lab.statistics.interval import Interval, least_of
from lab.statistics.means import cluster_interval
from lab.statistics.ratio import Parts, parts_of, share_interval
from lab.statistics.verdict import Evidence, Verdict

SPECTRA, CORES = "same spectra", "same spaces, random cores"
BASE, INPUTS = "directions of W₀", "inputs of the layers at θ₀"
"""Nulls, by what their members share."""

SHARED, ACROSS, RANDOM, WRONG = "shared subspace", "other types only", "Fastfood", "one other type"
SEEN = "shared subspace, the task seen"
MEAN, NEAREST, PROBE = "mean adapter", "nearest neighbour", "linear probe"
"""Rows of the score table beside the nulls: where coordinates are trained, and bodies that stay as they are."""

OF_GAIN = "share of the full method's gain over chance, Σ(score − chance)/Σ(full − chance) over all tasks"
GAIN = "part of the full method's gain over chance, Σ(score − other's score)/Σ(full − chance) over all tasks"
QIN = "Qin et al. 2021, one low-dimensional subspace for many tasks"


def share_over_null(table: pd.DataFrame, null: str) -> Interval:
    """Mean over tasks of what all directions of the others explain of a task, minus the same in a null.

    Args:
        table: null, task, k, share, null_share.
        null: its name.

    Raises:
        ValueError: the table has no such null.
    """
    rows = table[(table["null"] == null) & (table["k"] == table["k"].max())].dropna()
    if rows.empty:
        raise ValueError(f"no null {null!r}; there are {', '.join(table['null'].unique())}.")
    differences = rows["share"] - rows["null_share"]
    return cluster_interval({task: list(own) for task, own in differences.groupby(rows["task"])})


def gain_at(table: pd.DataFrame, row: str, k: int | None = None) -> Parts:
    """Task -> what a row has above chance, and what the full method has, at k coordinates or at the most there are.

    Tasks that the full method did not learn stand among them, with a gain near 0: whether a task was learned is seen
    in the same score, and to leave it out would choose on it.

    Args:
        table: row, task, k, score, full, chance.
        row: its name.
        k: coordinates; None: the most.
    """
    rows = table[table["row"] == row]
    chosen = rows[rows["k"] == (rows["k"].max() if k is None else k)].groupby("task", sort=False)
    means = chosen[["score", "full", "chance"]].mean()
    return parts_of(means["score"] - means["chance"], means["full"] - means["chance"])


def gain_over(table: pd.DataFrame, row: str, other: str) -> Parts:
    """Task -> one row's score minus another's, mean over every k that both have, and what the full method gains.

    A fixed body stands at every k. The gain is over chance.

    Args:
        table, row: as of `gain_at`.
        other: the other's name.
    """
    one, two = (
        table[table["row"] == name].pivot_table(index="task", columns="k", values="score", sort=False)
        for name in (row, other)
    )
    fixed = list(two.columns) == [0]
    above = one.sub(two[0], axis=0) if fixed else (one - two).dropna(how="all", axis=1)
    whole = table.groupby("task", sort=False)[["full", "chance"]].mean()
    return parts_of(above.mean(axis=1).dropna(), whole["full"] - whole["chance"])


def sharing_verdicts(beside: pd.DataFrame, setting: str) -> list[Verdict]:
    """What many tasks share, judged beside the null that shares most (`least_of`); tasks are the units.

    Args:
        beside: null, task, k, share, null_share.
        setting: what the measurement covers.
    """
    nulls = {null: share_over_null(beside, null) for null in dict.fromkeys(beside["null"])}
    return [
        Evidence(QIN, setting, "shared_directions", "tasks", 12).above(
            0.0, least_of(nulls), "The changes of many tasks share more than those of every null do.",
            "share of an unseen task's change that all directions of the others explain, minus the same in the null "
            f"where that is least, of {len(nulls)} nulls ({', '.join(nulls)}); interval over tasks [1]",
        )
    ]  # fmt: skip


def worth_verdicts(scores: pd.DataFrame, setting: str) -> list[Verdict]:
    """What coordinates in the subspace of other tasks are worth on an unseen one; tasks are the units.

    What is said of every subspace of as many directions is one statement, judged where it does worst (`least_of`):
    nobody claims a subspace that the activations draw as well.

    Args:
        scores: row, task, k, score, full, chance.
        setting: what the measurement covers.
    """
    worth = Evidence(QIN, setting, "subspace_scores", "tasks", 12)
    verdicts = []
    rivals = (RANDOM, CORES, INPUTS, BASE, WRONG, MEAN, PROBE)
    gains = {other: share_interval(own) for other in rivals if (own := gain_over(scores, SHARED, other))}
    drawn = {other: gains.pop(other) for other in (RANDOM, CORES, INPUTS, BASE) if other in gains}
    if drawn:
        verdicts.append(
            worth.above(
                0.0, least_of(drawn),
                "Coordinates in the subspace of other tasks are worth more on an unseen task than as many in every "
                "subspace that no task trained.",
                f"{GAIN} where that is least, of {len(drawn)} ({', '.join(drawn)}); mean over k; interval over tasks "
                "[1]",
            )
        )  # fmt: skip
    verdicts += [
        worth.above(
            0.0, gain, f"Coordinates in the subspace of other tasks are worth more on an unseen task than: {other}.",
            f"{GAIN}, mean over k; interval over tasks [1]",
        )
        for other, gain in gains.items()
    ]  # fmt: skip
    if five := gain_at(scores, SHARED, 5):
        verdicts.append(
            worth.above(
                0.65, share_interval(five),
                "Five coordinates of the shared subspace recover 65 % of the full method on unseen tasks.",
                f"{OF_GAIN}, at k = 5 beside a head of the task's own; interval over tasks [1]",
            )
        )  # fmt: skip
    return verdicts
