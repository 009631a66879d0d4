"""Where along a run, or a sweep of step sizes, the first intruder dimension comes."""

from __future__ import annotations

from collections.abc import Sequence

from lab.deferred import numpy as np
from lab.deferred import pandas as pd
from lab.statistics.rank_correlation import rank_correlation


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


FEWEST_MATRICES = 4
"""Of a run whose order is looked at."""


def order_within_runs(onsets: pd.DataFrame, forecast: str) -> dict[tuple[str, str], list[float]]:
    """PLM and method -> Spearman's ρ of forecast and seen step over the matrices of each run; runs without an order
    are left out.

    Args:
        onsets: model, label, run, seen, and the column of the forecast, all finite.
        forecast: its name.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for (model, label, _), run in onsets.groupby(["model", "label", "run"], sort=False):
        rho = rank_correlation(run[forecast], run["seen"]) if len(run) >= FEWEST_MATRICES else np.nan
        if np.isfinite(rho):
            found.setdefault((str(model), str(label)), []).append(rho)
    return found


def nearer_than_gaussian(onsets: pd.DataFrame) -> float | None:
    """By how much, in ln, the forecast is nearer to the strength seen than that of a Gaussian W₀ of the same size.

    The median over a run's matrices; None where no matrix has both. ‖W₀‖₂/‖ΔW‖₂ alone orders the matrices as well as
    the forecast does (Spearman's ρ 0.93 both), so an order says nothing of the spectrum. What it adds is the level.

    Args:
        onsets: seen, forecast, gaussian: strengths, infinite where there is none.
    """
    both = onsets[np.isfinite(onsets["seen"]) & np.isfinite(onsets["forecast"])]
    logs = both[["gaussian", "forecast"]].div(both["seen"], axis=0).apply(np.log).abs()
    return float((logs["gaussian"] - logs["forecast"]).median()) if len(both) else None
