"""Verdicts on intrinsic prompt tuning: what few coordinates recover, and whether the autoencoder beats plain PCA."""

from __future__ import annotations

from dataclasses import replace

from lab.deferred import pandas as pd
from lab.statistics.ratio import share_interval
from lab.statistics.shared_subspace import GAIN, OF_GAIN, gain_at, gain_over
from lab.statistics.verdict import Evidence, Verdict

PCA, LINEAR, HIDDEN = "PCA", "autoencoder, linear", "autoencoder, one hidden layer"
OTHER_METHOD = ", z of the other method"
RECOVERED = {"seen": 0.87, "unseen": 0.65}
"""What five dimensions recover in Qin et al. 2021: on 100 seen tasks, and on 20 unseen ones."""


def intrinsic_verdicts(table: pd.DataFrame, setting: str) -> list[Verdict]:
    """Of the paper's numbers at five coordinates, and of its autoencoder beside PCA.

    Args:
        table: row (decoder), task, seen ("seen" or "unseen"), k, score, full, chance; of one method.
        setting: what the measurement covers.
    """
    evidence = Evidence("Qin et al. 2021, intrinsic prompt tuning", setting, "intrinsic_prompt", "tasks", 12)
    verdicts = [
        evidence.above(
            threshold, share_interval(five),
            f"Five coordinates of the autoencoder recover {threshold:.0%} of the method on {seen} tasks.",
            f"{OF_GAIN}, beside a head of the task's own; interval over tasks [1]",
        )
        for seen, threshold in RECOVERED.items()
        if (five := gain_at(table[table["seen"] == seen], HIDDEN, 5))
    ]  # fmt: skip
    beside_pca = replace(evidence, source="autoencoder (docs/shared_subspaces.md)", number=None)
    verdicts += [
        beside_pca.above(
            0.0, share_interval(gains),
            f"On unseen tasks, coordinates of the {row} are worth more than as many of plain PCA.",
            f"{GAIN}, beside PCA's at equal k, mean over k; interval over tasks [1]",
        )
        for row in (LINEAR, HIDDEN)
        if (gains := gain_over(table[table["seen"] == "unseen"], row, PCA))
    ]  # fmt: skip
    return verdicts
