"""Methods compared on tasks: pairs of methods seed by seed, and intervals whose unit is the task."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from statistics import fmean

from lab.deferred import pandas as pd
from lab.statistics.interval import Interval
from lab.statistics.means import mean_interval
from lab.statistics.ratio import ratio_interval

HALF_OF_RANK_VARIANCE = sqrt(0.5)
"""|Spearman's ρ| above which one ranking explains more than half of the variance of the other's ranks (ρ² > 1/2)."""


def paired(
    table: pd.DataFrame,
    first: str,
    second: str,
    compare: Callable[[pd.Series, pd.Series], pd.Series] = operator.sub,
    value: str = "score",
) -> dict[str, list[float]]:
    """Task -> first − second (or another comparison) for each seed that both methods have; empty without them."""
    wide = table.pivot_table(index=["task", "seed"], columns="label", values=value)
    if first not in wide or second not in wide:
        return {}
    differences = compare(wide[first], wide[second]).dropna()
    return {str(task): list(part) for task, part in differences.groupby("task", sort=False)}


def over_tasks(by_task: Mapping[str, Sequence[float]]) -> Interval:
    """Student's t interval over tasks, seeds averaged within each; of a single task, over its seeds.

    The claims are about tasks, and seeds of one task are no independent evidence about another.
    """
    values = [fmean(values) for values in by_task.values()]
    return mean_interval(values if len(values) > 1 else list(*by_task.values()))


def share_over_tasks(table: pd.DataFrame, first: str, second: str, value: str = "score") -> Interval | None:
    """Mean of the first method over the mean of the second, with the units of `over_tasks`; None without a pair.

    The ratio of what both reach on average, not the average of ratios (`lab.statistics.ratio_interval`).
    """
    wide = table.pivot_table(index=["task", "seed"], columns="label", values=value)
    if not {first, second} <= set(wide):
        return None
    both = wide[[first, second]].dropna()
    by_task = both.groupby("task", sort=False).mean()
    units = by_task if len(by_task) > 1 else both
    return ratio_interval(list(units[first]), list(units[second])) if len(units) else None


def unit_of(table: pd.DataFrame) -> str:
    """What `over_tasks` takes as drawn at random in a table with a column `task`."""
    return "tasks" if table.task.nunique() > 1 else "seeds"


def metric_name(table: pd.DataFrame) -> str:
    """The metrics of a table, joined."""
    return ", ".join(dict.fromkeys(map(str, table["metric"])))


JOINED = " + "
"""Between the names of methods that are combined."""


def above_parts(table: pd.DataFrame) -> dict[str, list[float]]:
    """Task -> by how much the gap of combinations exceeds the mean of their parts, seed by seed; empty without any."""
    pairs = table.label[table.kind == "combination"].unique()
    wide = table.pivot_table(index=["task", "seed"], columns="label", values="gap")
    above = [wide[pair] - wide[pair.split(JOINED)].mean(axis=1) for pair in pairs]
    found: dict[str, list[float]] = {}
    for (task, _), values in pd.concat(above, axis=1).iterrows() if above else ():
        found.setdefault(str(task), []).append(fmean(values))
    return found
