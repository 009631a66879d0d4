"""Accuracy lost to perturbations, and radii within which an answer is kept: open loop beside feedback."""

from __future__ import annotations

from math import log

from lab.deferred import pandas as pd

CLEAN = "clean"
"""The condition of inputs that are not perturbed."""


def losses(table: pd.DataFrame, loop: str) -> pd.Series:
    """Accuracy lost to perturbations, mean over methods, kinds and strengths; one value per seed.

    Args:
        table: label, loop, seed, kind, score.
        loop: "open loop" or "feedback".
    """
    chosen = table[table.loop == loop]
    clean = chosen[chosen.kind == CLEAN].set_index(["label", "seed"]).score
    perturbed_rows = chosen[chosen.kind != CLEAN]
    index = pd.MultiIndex.from_frame(perturbed_rows[["label", "seed"]])
    lost = clean.reindex(index).to_numpy() - perturbed_rows.score.to_numpy()
    return pd.Series(lost, index=perturbed_rows.seed.to_numpy()).groupby(level=0).mean()


def loop_gaps(table: pd.DataFrame) -> list[float]:
    """Per seed: what open loop loses more than feedback."""
    gap = losses(table, "open loop") - losses(table, "feedback")
    return [float(value) for value in gap.sort_index()]


def median_radii(table: pd.DataFrame, column: str = "radius") -> pd.Series:
    """Median over the examples answered rightly; one value per seed, in the order of the seeds.

    Args:
        table: of one method: seed, margin, and the column.
        column: which radius.
    """
    return table[table.margin > 0].groupby("seed")[column].median().sort_index()


def radius_ratios(table: pd.DataFrame) -> list[float]:
    """Per seed: ln of feedback's radius over open loop's, each the geometric mean over its methods of their medians."""
    right = table[table.margin > 0]
    medians = right.groupby(["loop", "label", "seed"]).radius.median().map(log)
    by_loop = medians.groupby(["loop", "seed"]).mean().unstack("loop")
    return [float(value) for value in by_loop["feedback"] - by_loop["open loop"]]
