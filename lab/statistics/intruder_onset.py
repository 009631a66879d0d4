"""Where along a run, or a sweep of step sizes, the first intruder dimension comes."""

from __future__ import annotations

from collections.abc import Sequence

from lab.deferred import numpy as np
from lab.deferred import pandas as pd
from lab.statistics.interval import Interval
from lab.statistics.rank_correlation import rank_correlation_interval


def onset(table: pd.DataFrame) -> pd.Series:
    """Where the first intruder is taken to come: halfway, on a log axis, between the places without and with one.

    Missing where none is seen, or where there is one from the first place on.
    """
    bracketed = np.isfinite(table["seen"]) & (table["before"] > 0)
    return (table["before"] * table["seen"].where(bracketed)) ** 0.5


def agreement(onsets: pd.DataFrame, forecasts: Sequence[str]) -> dict[str, int | float | None]:
    """How far off forecasts are, in the median, where both they and what is seen fall inside the run.

    Args:
        onsets: along, seen, before, and a column per forecast.
        forecasts: names of those columns.

    Returns:
        Per value of `along` how many onsets were seen, and the median ratio of what is seen to each forecast; None
        where there is no such pair.
    """
    found: dict[str, int | float | None] = {}
    for along, part in onsets.groupby("along", sort=False):
        name = str(along).replace(" ", "_")
        found[f"{name}_seen"] = int(np.isfinite(part["seen"]).sum())
        for forecast in forecasts:
            ratio = (onset(part) / part[forecast]).where(np.isfinite(part[forecast])).dropna()
            found[f"{name}_seen_over_{forecast}"] = float(ratio.median()) if len(ratio) else None
    return found


def centred_rank_correlation(rows: pd.DataFrame, x: str, y: str, *, groups: pd.Series) -> Interval:
    """Spearman's ρ of two positive columns, each divided by its geometric mean within the row's group.

    What orders the groups is then no part of the correlation.
    """
    logs = rows[[x, y]].apply(np.log)
    within = logs - logs.groupby(groups).transform("mean")
    return rank_correlation_interval(list(within[x]), list(within[y]))
