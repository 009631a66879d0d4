"""Whether a score known before training ranks methods as their trained scores do."""

from __future__ import annotations

from collections.abc import Sequence

from lab.deferred import pandas as pd
from lab.statistics.interval import Interval
from lab.statistics.rank_correlation import stratified_rank_correlation


def ranking_correlations(table: pd.DataFrame, candidates: Sequence[str]) -> dict[str, Interval]:
    """Candidate -> Spearman's ρ with `score` within each PLM and task; the methods are the units.

    Seeds are averaged first: they are no new pairs, and neither is a method on another task.

    Args:
        table: columns model, task, label (the method), score and the candidates; rows without a number are left out.
        candidates: names of columns.
    """
    means = table.groupby(["model", "task", "label"], sort=False)[[*candidates, "score"]].mean().reset_index()
    found = {}
    for name in candidates:
        known = means.dropna(subset=[name, "score"])
        places = (known.model.astype(str) + " · " + known.task.astype(str)).tolist()
        found[name] = stratified_rank_correlation(
            known[name].tolist(), known.score.tolist(), strata=places, units=known.label.tolist()
        )
    return found
