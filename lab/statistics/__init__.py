"""What measurements say: estimates with intervals, ranks, factorial effects, verdicts. numpy and scipy, no torch."""

from __future__ import annotations

# what is said of them
from lab.statistics.answer import Answer

# intervals
from lab.statistics.crossing import crossing_interval

# designs
from lab.statistics.factorial import effects_beside, factorial_effects
from lab.statistics.interval import (
    LEVEL,
    Interval,
    absolute,
    at_resolution,
    greatest_of,
    least_of,
    unbounded,
    worst_case,
)
from lab.statistics.learned import learned
from lab.statistics.means import cluster_interval, mean_interval, pair_interval, stratified_interval
from lab.statistics.multiplicity import error_of_looks, expected_false, holm
from lab.statistics.proportion import clustered_proportion, proportion_interval
from lab.statistics.rank_correlation import (
    rank_correlation,
    rank_correlation_interval,
    ranks,
    stratified_rank_correlation,
)
from lab.statistics.ranking import Ranking, critical_difference
from lab.statistics.ratio import ratio_interval
from lab.statistics.relabelling import Relabelling, mantel, relabelled, sign_flips
from lab.statistics.verdict import FEWEST, Evidence, Judgement, Verdict, judged, strongest

__all__ = [
    "FEWEST",
    "LEVEL",
    "Answer",
    "Evidence",
    "Interval",
    "Judgement",
    "Ranking",
    "Relabelling",
    "Verdict",
    "absolute",
    "at_resolution",
    "cluster_interval",
    "clustered_proportion",
    "critical_difference",
    "crossing_interval",
    "effects_beside",
    "error_of_looks",
    "expected_false",
    "factorial_effects",
    "greatest_of",
    "holm",
    "judged",
    "learned",
    "least_of",
    "mantel",
    "mean_interval",
    "pair_interval",
    "proportion_interval",
    "rank_correlation",
    "rank_correlation_interval",
    "ranks",
    "ratio_interval",
    "relabelled",
    "sign_flips",
    "stratified_interval",
    "stratified_rank_correlation",
    "strongest",
    "unbounded",
    "worst_case",
]
