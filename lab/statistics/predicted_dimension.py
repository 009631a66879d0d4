"""How well predicted dimensions rank the measured ones."""

from __future__ import annotations

from lab.deferred import pandas as pd
from lab.statistics.interval import Interval
from lab.statistics.rank_correlation import stratified_rank_correlation


def rank_agreement(rows: pd.DataFrame, column: str = "predicted") -> Interval:
    """Spearman's ρ of a column and the measured dimension over searches.

    Args:
        rows: one per search: the column, `measured`, and `label`, "PLM · task · method". Methods on one PLM and task
            are no independent searches, so the unit of the interval is the PLM and task.
        column: what is to rank as the measured dimension does.
    """
    units = rows.label.str.rpartition(" · ")[0].tolist()
    return stratified_rank_correlation(
        rows[column].tolist(), rows.measured.tolist(), strata=[""] * len(rows), units=units
    )
