"""Does one quantity of pairs predict another, on pairs of units that were not looked at? Error beside a null's."""

from __future__ import annotations

from dataclasses import replace

from lab.deferred import numpy as np
from lab.deferred import pandas as pd
from lab.statistics.interval import LEVEL, Interval
from lab.statistics.quantiles import student_t


def predicted_out_of_sample(table: pd.DataFrame, x: str | None, y: str) -> pd.Series:
    """ŷ of every ordered pair from the line through all pairs that share no unit with it.

    Least squares of y on x and a constant; without x, or where x does not vary, the mean of y. What two units have in
    common with others cannot leak: a pair's line has seen neither of its units.

    Args:
        table: one, other: the units of the pair; and the columns.
        x: column of the predictor; None: the null that predicts the mean.
        y: column of what is predicted.

    Returns:
        nan where fewer than three pairs are left.
    """
    one, other = table["one"].to_numpy(), table["other"].to_numpy()
    target = table[y].to_numpy(dtype=float)
    feature = np.zeros(len(table)) if x is None else table[x].to_numpy(dtype=float)
    found = np.full(len(table), np.nan)
    for n in range(len(table)):
        units = (one[n], other[n])
        seen = ~(np.isin(one, units) | np.isin(other, units))
        if seen.sum() >= 3:
            centre, level = feature[seen].mean(), target[seen].mean()
            spread = ((feature[seen] - centre) ** 2).sum()
            slope = ((feature[seen] - centre) * target[seen]).sum() / spread if spread > 0 else 0.0
            found[n] = level + slope * (feature[n] - centre)
    return pd.Series(found, index=table.index)


def skill(table: pd.DataFrame, x: str, y: str, null: str | None = None, level: float = LEVEL) -> Interval:
    """1 − Σ(y − ŷ)²/Σ(y − ŷ₀)²: the part of a null's squared error that a predictor removes, both out of sample.

    1 is perfect, 0 as good as the null, negative worse than it. The interval is the jackknife's over units (Arvesen
    1969), of the logarithm of the ratio, with n − 1 degrees of freedom: pairs share units, and are no more independent
    than these.

    Args:
        table: one, other, and the columns; one row per ordered pair.
        x: column of the predictor.
        y: column of what is predicted.
        null: column of another predictor; None: the mean.
        level: confidence.

    Raises:
        ValueError: fewer than five units: then no pair has three others that share none with it; the null is never
            wrong, so that there is nothing to remove.
    """
    errors = np.stack([(table[y] - predicted_out_of_sample(table, column, y)) ** 2 for column in (x, null)])
    known = ~np.isnan(errors).any(axis=0)
    if not known.any():
        raise ValueError("a prediction out of sample needs five units or more, with their pairs.")
    own, beside = errors[:, known]
    if not beside.any():
        raise ValueError("the null predicts every pair exactly: there is no error that a predictor could remove.")
    pairs = table.loc[known, ["one", "other"]].to_numpy()
    units = np.unique(pairs)
    logs = np.array([_log_ratio(own[kept], beside[kept]) for kept in (~(pairs == u).any(axis=1) for u in units)])
    error = float(np.sqrt((1 - 1 / len(units)) * ((logs - logs.mean()) ** 2).sum()))
    middle = _log_ratio(own, beside)

    def at(level: float) -> Interval:
        half = student_t((1 + level) / 2, len(units) - 1) * error
        worst, estimate, best = (1 - float(np.exp(min(middle + shift, 700.0))) for shift in (half, 0.0, -half))
        return Interval(estimate, worst, best, len(units))

    return replace(at(level), at=at)


def _log_ratio(own: np.ndarray, beside: np.ndarray) -> float:
    """ln Σ own/Σ beside; of sums that are zero, of the smallest number there is."""
    least = np.finfo(float).tiny
    return float(np.log(max(own.sum(), least)) - np.log(max(beside.sum(), least)))
