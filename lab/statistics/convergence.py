"""When a run reaches a share of a score: its own last one, or one that another run reaches as well."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from lab.deferred import numpy as np
from lab.deferred import pandas as pd

SHARE = 0.95
"""Share of a last score that counts as having converged."""


def first_reached(x: np.ndarray, score: np.ndarray, level: float) -> float:
    """Where the score first reaches a level, linear between evaluations; NaN if it never does.

    The first evaluation's place, an upper bound, where the score is there already.
    """
    if len(x) and score[0] >= level:
        return float(x[0])
    for (x0, x1), (s0, s1) in zip(pairwise(x), pairwise(score), strict=True):
        if s0 < level <= s1:
            return float(x0 + (x1 - x0) * (level - s0) / (s1 - s0))
    return float("nan")


def reaching(table: pd.DataFrame, share: float = SHARE) -> pd.DataFrame:
    """One row per run: its last score, and the steps and seconds to a share of it.

    Columns: label, task, seed, final, steps, time [s], and tunable where the table has it.
    """
    rows = []
    for (label, task, seed), run in table.groupby(["label", "task", "seed"], sort=False):
        ordered = run.dropna(subset=["score"]).sort_values("step", kind="stable")
        if ordered.empty:
            continue
        step, score = ordered.step.to_numpy(float), ordered.score.to_numpy(float)
        level = share * score[-1]
        row = {"label": label, "task": task, "seed": seed, "final": score[-1]}
        row |= {"steps": first_reached(step, score, level)}
        row |= {"time": first_reached(ordered.seconds.to_numpy(float), score, level)}
        rows.append(row | ({"tunable": ordered.tunable.iloc[0]} if "tunable" in ordered else {}))
    return pd.DataFrame(rows)


def steps_to_common_level(table: pd.DataFrame, first: str, second: str) -> dict[str, dict[Any, float]]:
    """Task -> seed -> steps of the first method minus steps of the second, for each seed that both have.

    The level is 95 % of the lower of the two last scores, which both runs reach: no comparison is lost because a weak
    method never gets to a level that a strong one sets, and none is won by ending low.
    """
    found: dict[str, dict[Any, float]] = {}
    scored = table.dropna(subset=["score"]).sort_values("step", kind="stable")
    runs = dict(list(scored.groupby(["task", "seed", "label"], sort=False)))
    for task, seed in table[["task", "seed"]].drop_duplicates().itertuples(index=False):
        pair = [runs[task, seed, label] for label in (first, second) if (task, seed, label) in runs]
        if len(pair) < 2:
            continue
        level = SHARE * min(float(run.score.iloc[-1]) for run in pair)
        steps = [first_reached(run.step.to_numpy(float), run.score.to_numpy(float), level) for run in pair]
        found.setdefault(str(task), {})[seed] = steps[0] - steps[1]
    return found
