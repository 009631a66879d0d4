"""Ranking several methods over several tasks: Friedman's test and Nemenyi's critical difference."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan, sqrt
from typing import TYPE_CHECKING

from lab.deferred import numpy as np
from lab.statistics.interval import LEVEL
from lab.statistics.quantiles import chi_squared_tail, studentized_range

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of methods over tasks, and how far apart two must be to differ.

    Attributes:
        mean_ranks: method -> mean rank over tasks, 1 = best, ties share their mean.
        n_tasks: how many tasks the ranks are over.
        p_value: of Friedman's test that all methods are the same; NaN for fewer than two tasks or three methods.
        critical_difference: methods whose mean ranks differ by more are told apart at `level`; inf where nothing is.
        level: joint confidence over all pairs.
    """

    mean_ranks: dict[str, float]
    n_tasks: int
    p_value: float
    critical_difference: float
    level: float = LEVEL

    @property
    def told_apart(self) -> tuple[tuple[str, str], ...]:
        """Pairs (better, worse) whose mean ranks differ by more than the critical difference."""
        ranks = sorted(self.mean_ranks.items(), key=lambda item: item[1])
        return tuple(
            (better, worse)
            for i, (better, high) in enumerate(ranks)
            for worse, low in ranks[i + 1 :]
            if low - high > self.critical_difference
        )

    @property
    def told(self) -> str:
        """The answer in words."""
        n, k = self.n_tasks, len(self.mean_ranks)
        if not self.critical_difference < inf:
            return f"{k} methods on {n} task(s): too few to rank; it takes two tasks and two methods."
        pairs, tested = len(self.told_apart), k * (k - 1) // 2
        told = f"{pairs} of {tested} pairs are told apart" if pairs else "no pair of methods is told apart"
        return (
            f"{k} methods on {n} tasks: Friedman's p = {self.p_value:.3g}, critical difference of mean ranks "
            f"{self.critical_difference:.2f} (Nemenyi, {100 * self.level:g} %): {told}."
        )


def critical_difference(scores: pd.DataFrame, level: float = LEVEL) -> Ranking:
    """Mean ranks with Friedman's test and the critical difference q·√(k(k + 1)/(6N)) (Demšar 2006, sections 3.2.2-3).

    q is the quantile of the studentised range for k means and infinitely many degrees of freedom, divided by √2. Tasks
    are the blocks: seeds of one task are no independent evidence about other tasks, so average over them beforehand.
    For few tasks the critical difference is large: with k = 13 it exceeds every possible difference of ranks, k − 1,
    unless N ≥ 3.

    Args:
        scores: one row per task, one column per method, higher is better.
        level: joint confidence over all pairs.

    Raises:
        ValueError: no scores, or one that is not finite.
    """
    if scores.empty or not np.isfinite(scores.to_numpy(float)).all():
        raise ValueError(
            f"a ranking needs a finite score of every method on every task; got {scores.shape[0]} tasks × "
            f"{scores.shape[1]} methods with {int((~np.isfinite(scores.to_numpy(float))).sum())} scores missing."
        )
    n, k = scores.shape
    within = scores.rank(axis=1, ascending=False, method="average")
    mean_ranks = {str(name): float(rank) for name, rank in within.mean().items()}
    if n < 2 or k < 2:
        return Ranking(mean_ranks, n, nan, inf, level)
    p_value = _friedman(within.to_numpy(float)) if k > 2 else nan
    q = studentized_range(level, k) / sqrt(2)
    return Ranking(mean_ranks, n, p_value, q * sqrt(k * (k + 1) / (6 * n)), level)


def _friedman(ranks: np.ndarray) -> float:
    """p of Friedman's test from the ranks within each of n tasks, (n, k); NaN where all are tied.

    χ² = n Σ_j (R̄_j − (k + 1)/2)² / s², with s² the mean over tasks of the unbiased variance of the ranks, which is
    k(k + 1)/12 without ties.
    """
    n, k = ranks.shape
    spread = float(ranks.var(axis=1, ddof=1).mean())
    if spread == 0:
        return nan
    return chi_squared_tail(n * float(((ranks.mean(axis=0) - (k + 1) / 2) ** 2).sum()) / spread, k - 1)


def ranked(table: pd.DataFrame) -> Ranking:
    """Mean ranks over tasks of the methods that every task has; scores are averaged over seeds first."""
    means = table.pivot_table(index="task", columns="label", values="score", sort=False)
    return critical_difference(means.dropna(axis="columns"))


def ordered(table: pd.DataFrame) -> list[str]:
    """Methods, best mean rank first; those that some task lacks at the end, by mean score."""
    means = table.groupby("label", sort=False)["score"].mean()
    complete = table.pivot_table(index="task", columns="label", values="score").notna().all()
    ranks = ranked(table).mean_ranks if complete.any() else {}
    return sorted(means.index, key=lambda label: (ranks.get(str(label), inf), -means[label]))
