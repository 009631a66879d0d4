"""Verdicts on intrinsic prompt tuning: what few coordinates recover, and whether the autoencoder beats plain PCA."""

from __future__ import annotations

from typing import Any

from lab.deferred import pandas as pd
from lab.statistics.means import cluster_interval, mean_interval
from lab.statistics.shared_subspace import gain_over, relative_at
from lab.statistics.verdict import Verdict

PCA, LINEAR, HIDDEN = "PCA", "autoencoder, linear", "autoencoder, one hidden layer"
OTHER_METHOD = ", z of the other method"
RECOVERED = {"seen": 0.87, "unseen": 0.65}
"""What five dimensions recover in Qin et al. 2021: on 100 seen tasks, and on 20 unseen ones."""


def intrinsic_verdicts(table: pd.DataFrame, setting: str) -> list[Verdict]:
    """Of the paper's numbers at five coordinates, and of its autoencoder beside PCA.

    Args:
        table: row (decoder), task, seen ("seen" or "unseen"), k, relative; of one method.
        setting: what the measurement covers.
    """
    shared: dict[str, Any] = {
        "source": "Qin et al. 2021, intrinsic prompt tuning", "side": "above", "setting": setting, "figure": "intrinsic_prompt",
        "number": 11,
    }  # fmt: skip
    verdicts = []
    for seen, threshold in RECOVERED.items():
        part = table[table["seen"] == seen]
        if five := relative_at(part, HIDDEN, 5):
            verdicts.append(
                Verdict(
                    claim=f"Five coordinates of the autoencoder recover {threshold:.0%} of the method on {seen} tasks.",
                    quantity="relative score, (score − chance)/(full − chance), beside a head of the task's own; "
                    "interval over tasks [1]",
                    measured=mean_interval(list(five.values())), threshold=threshold, **shared,
                )
            )  # fmt: skip
    verdicts += [
        Verdict(
            claim=f"On unseen tasks, coordinates of the {row} are worth more than as many of plain PCA.",
            quantity="relative score minus PCA's at equal k, mean over k; interval over tasks [1]",
            measured=cluster_interval(gains), threshold=0.0, **shared,
        )
        for row in (LINEAR, HIDDEN)
        if (gains := gain_over(table[table["seen"] == "unseen"], row, PCA))
    ]  # fmt: skip
    return verdicts
