"""Transfer between tasks: as a share of what training there reaches, and beside the similarity of updates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from lab.deferred import numpy as np
from lab.deferred import pandas as pd
from lab.statistics.interval import Interval
from lab.statistics.rank_correlation import rank_correlation
from lab.statistics.relabelling import Relabelling, mantel, relabelled

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


def inside_and_across(table: pd.DataFrame) -> dict[str, float]:
    """Mean relative transfer inside types and across them, of the first treatment of the head."""
    off = table[(table["head"] == table["head"].iloc[0]) & (table.source != table.target)]
    inside = off.source_type == off.target_type
    return {"inside": float(off.relative[inside].mean()), "across": float(off.relative[~inside].mean())}


def transfer_by_type(tables: Sequence[pd.DataFrame]) -> Relabelling:
    """Mean relative transfer inside types minus across them, against the same with the types dealt out otherwise.

    The statement is about tasks, and the tasks are the units: methods and seeds on the same tasks are averaged.

    Args:
        tables: one per run: head, source, target, their types, relative.
    """
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


def similarity_of(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Pairs of tasks: means over runs of transfer and of the ranks of cosine and similarity within each run.

    Args:
        tables: one per run: label, seed, pair, cosine, subspace, transfer.
    """
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables).dropna(subset=["transfer", "cosine", "subspace"])
    runs = table.groupby(["label", "seed"])
    ranks = runs[["cosine", "subspace"]].rank(pct=True)  # methods differ in level, pairs in order
    return table.assign(**ranks).groupby("pair")[["cosine", "subspace", "transfer"]].mean()
