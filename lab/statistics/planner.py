"""Plans of ranks beside equal ranks at the same number of parameters."""

from __future__ import annotations

from typing import Any

from lab.deferred import pandas as pd

EQUAL, RANDOM = "equal ranks", "random ranks"
"""Labels of the reference and of the null."""


def beside_equal_ranks(table: pd.DataFrame) -> pd.DataFrame:
    """The table with loss_difference and score_difference: beside equal ranks with the same seed.

    Args:
        table: label, seed, loss, score.
    """
    equal = table[table.label == EQUAL].set_index("seed")
    return table.assign(
        loss_difference=table.loss - table.seed.map(equal.loss),
        score_difference=table.score - table.seed.map(equal.score),
    )


def planner_metrics(table: pd.DataFrame, budget: int) -> dict[str, Any]:
    """The best rule and the null, as mean differences of the loss [nats], of a table of `beside_equal_ranks`."""
    planned = table[(table.kind == "ranks") & ~table.label.isin([EQUAL, RANDOM])]
    means = planned.groupby("label", sort=False).loss_difference.mean()
    return {
        "budget": budget, "best_rule": str(means.idxmin()), "best_loss_difference": float(means.min()),
        "random_loss_difference": float(table[table.label == RANDOM].loss_difference.mean()), "tunable": budget,
        "train_seconds": float(table.train_seconds.sum()),
    }  # fmt: skip
