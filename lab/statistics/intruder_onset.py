"""Where along a run, or a sweep of step sizes, the first intruder dimension comes."""

from __future__ import annotations

from lab.deferred import numpy as np
from lab.deferred import pandas as pd


def onset(table: pd.DataFrame) -> pd.Series:
    """Where the first intruder is taken to come: halfway, on a log axis, between the places without and with one.

    Missing where none is seen, or where there is one from the first place on.
    """
    bracketed = np.isfinite(table["seen"]) & (table["before"] > 0)
    return (table["before"] * table["seen"].where(bracketed)) ** 0.5
