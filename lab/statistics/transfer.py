"""Transfer between tasks: as a share of what training there reaches, and beside the similarity of updates."""

from __future__ import annotations

from itertools import combinations

from lab.deferred import numpy as np
from lab.deferred import pandas as pd
from lab.statistics.interval import Interval
from lab.statistics.rank_correlation import rank_correlation
from lab.statistics.relabelling import Relabelling, mantel

BETWEEN = " · "
"""Between the two tasks in the name of a pair."""


def with_ratio(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with `ratio` = score / own, the source's normalisation: chance itself counts as transfer."""
    return table.assign(ratio=table.score / table.own.where(table.own > 0))


def correlations(table: pd.DataFrame, column: str) -> dict[str, Interval]:
    """Method -> Spearman's ρ between a similarity and transfer over pairs of tasks; pairs without transfer left out.

    n tasks are n units, whatever the number of their pairs: the interval is what an exact test says of the sign of ρ
    (`likeness_test`), and open where pairs are missing.
    """
    known = table.dropna(subset=[column, "transfer"])
    found = {}
    for label, part in known.groupby("label", sort=False):
        means = part.groupby("pair", sort=False)[[column, "transfer"]].mean()
        test, n = likeness_test(means[column], means.transfer), len(_tasks(means.index))
        rho = rank_correlation(means[column], means.transfer)
        found[str(label)] = Interval(rho, -1.0, 1.0, n) if test is None else test.interval(n)
    return found


def likeness_test(similarity: pd.Series, transfer: pd.Series) -> Relabelling | None:
    """Mantel's test of two quantities of pairs of tasks; None with fewer than three tasks, or where pairs are missing.

    Args:
        similarity, transfer: indexed alike by "one · other".
    """
    tasks = _tasks(similarity.index)
    known = {frozenset(str(pair).split(BETWEEN)) for pair in similarity.index}
    if len(tasks) < 3 or not known >= {frozenset(pair) for pair in combinations(tasks, 2)}:
        return None
    return mantel(_matrix(similarity, tasks), _matrix(transfer, tasks))


def _tasks(pairs: pd.Index) -> list[str]:
    return sorted({task for pair in pairs for task in str(pair).split(BETWEEN)})


def _matrix(pairs: pd.Series, tasks: list[str]) -> np.ndarray:
    """Symmetric over tasks."""
    found = np.zeros((len(tasks), len(tasks)))
    for pair, value in pairs.items():
        i, j = (tasks.index(task) for task in str(pair).split(BETWEEN))
        found[i, j] = found[j, i] = value
    return found
