"""Transfer between tasks: as a share of what training there reaches, and beside the similarity of updates."""

from __future__ import annotations

import pandas as pd

from lab.statistics.interval import Interval
from lab.statistics.rank_correlation import rank_correlation_interval


def with_ratio(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with `ratio` = score / own, the source's normalisation: chance itself counts as transfer."""
    return table.assign(ratio=table.score / table.own.where(table.own > 0))


def correlations(table: pd.DataFrame, column: str) -> dict[str, Interval]:
    """Method -> Spearman's ρ between a similarity and transfer over pairs of tasks; pairs without transfer left out."""
    known = table.dropna(subset=[column, "transfer"])
    return {
        str(label): rank_correlation_interval(list(part[column]), list(part.transfer))
        for label, part in known.groupby("label", sort=False)
    }
