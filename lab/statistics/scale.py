"""Runs of one method on PLMs of growing size: last scores, and steps to a level that all sizes reach."""

from __future__ import annotations

from typing import Any

from lab.deferred import numpy as np
from lab.deferred import pandas as pd
from lab.statistics.convergence import SHARE, first_reached


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
