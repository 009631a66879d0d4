"""What measurements say: estimates with intervals, ranks, factorial effects, verdicts. numpy and scipy, no torch."""

from __future__ import annotations

# what is said of them
from lab.statistics.answer import Answer

# designs
from lab.statistics.factorial import effects_beside, factorial_effects

# intervals
from lab.statistics.interval import LEVEL, Interval, absolute
from lab.statistics.means import mean_interval, stratified_interval
from lab.statistics.proportion import proportion_interval
from lab.statistics.rank_correlation import rank_correlation, rank_correlation_interval, ranks
from lab.statistics.ranking import Ranking, critical_difference
from lab.statistics.verdict import Judgement, Verdict

__all__ = [
    "LEVEL",
    "Answer",
    "Interval",
    "Judgement",
    "Ranking",
    "Verdict",
    "absolute",
    "critical_difference",
    "effects_beside",
    "factorial_effects",
    "mean_interval",
    "proportion_interval",
    "rank_correlation",
    "rank_correlation_interval",
    "ranks",
    "stratified_interval",
]
