"""Accuracy lost to perturbations, open loop beside feedback."""

from __future__ import annotations

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
