"""Runs of one method on PLMs of growing size: last scores, and steps to a level that all sizes reach."""

from __future__ import annotations

from typing import Any

from lab.deferred import numpy as np
from lab.deferred import pandas as pd
from lab.statistics.convergence import SHARE, first_reached, steps_to_common_level
from lab.statistics.interval import Interval, unbounded
from lab.statistics.means import cluster_interval, mean_interval


def finals(table: pd.DataFrame) -> pd.DataFrame:
    """The last evaluation of every run."""
    ordered = table[np.isfinite(table.score.astype(float))].sort_values("step", kind="stable")
    return ordered.groupby(["label", "plm", "seed"], sort=False).tail(1).sort_index()


def series_of(plms: pd.Series) -> pd.Series:
    """The series of each PLM: one that is cut and its cuts name:k are a series, all others together another, ""."""
    names = plms.str.partition(":")[0]
    return names.where(names.isin(names[plms.str.contains(":")]), "")


def steps_to_level(table: pd.DataFrame) -> pd.DataFrame:
    """Steps of every run to 95 % of the lowest last score that its method has with this seed on any PLM of the series.

    A level that all sizes reach, so that none is left out. Columns: label, plm, seed, steps.
    """
    last = finals(table)
    lowest = last.groupby([series_of(last.plm), "label", "seed"]).score.min().to_dict()
    series = dict(zip(table.plm, series_of(table.plm), strict=True))
    rows: list[dict[str, Any]] = []
    for (label, plm, seed), run in table.groupby(["label", "plm", "seed"], sort=False):
        ordered = run[np.isfinite(run.score.astype(float))].sort_values("step")
        if len(ordered):
            steps = first_reached(
                ordered.step.to_numpy(float), ordered.score.to_numpy(float), SHARE * lowest[series[plm], label, seed]
            )
            rows.append({"label": label, "plm": plm, "seed": seed, "steps": steps})
    return pd.DataFrame(rows, columns=["label", "plm", "seed", "steps"])


def faster(table: pd.DataFrame, small: str, large: str) -> Interval:
    """Steps on the larger PLM minus steps on the smaller to a common level, mean over the methods; interval over seeds.

    The methods share a seed's examples and its head: they are averaged within it and are no units of their own.
    Where the smaller PLM has learned nothing its level is chance, and being there early is no convergence: the
    interval is then open.
    """
    as_tasks = table.assign(task=table.label, label=table.plm)
    by_seed: dict[int, list[float]] = {}
    for seeds in steps_to_common_level(as_tasks, large, small).values():
        for seed, difference in seeds.items():
            by_seed.setdefault(seed, []).append(difference)
    return known_if(rises_after_first(table, small), cluster_interval(by_seed))


def rises_after_first(table: pd.DataFrame, plm: str) -> bool:
    """Whether a PLM's score rises from the first evaluation to the last, mean over methods, by its whole interval over
    seeds. One that stays at chance cannot be read: what others reach beyond it is no effect of size."""
    own = table[table.plm == plm].sort_values("step", kind="stable").groupby(["label", "seed"]).score
    return mean_interval(list((own.last() - own.first()).groupby("seed").mean())).low > 0


def known_if(known: bool, found: Interval) -> Interval:
    """The interval, open where nothing can be known."""
    return found if known else unbounded(found)
