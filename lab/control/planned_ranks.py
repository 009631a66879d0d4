"""The plans of every rule at one budget, beside random ranks, as a table."""

from __future__ import annotations

import pandas as pd
import torch

from lab.control.planner import RULES, Survey, allocate, logarithmic_gains, plan
from lab.statistics.planner import RANDOM


def planned_ranks(found: Survey, budget: int, seed: int) -> pd.DataFrame:
    """One row per rule and matrix: its rank, and what the survey says of its block.

    Args:
        found: the survey.
        budget: Σ r·(m + n) over the matrices.
        seed: of the random ranks, which are the plan of exponential scores.
    """
    plans = {f"by {rule}": plan(found, rule, budget).ranks for rule in RULES}
    draws = torch.rand(len(found.matrices), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    costs = [sum(m.shape) for m in found.matrices]
    plans[RANDOM] = allocate(logarithmic_gains(-draws.log(), min(costs) // 2), costs, budget).ranks
    rows = [
        {"rule": rule, "matrix": m.label, "role": m.role, "block": m.block, "rank": r,
         "gramian": float(found.gramian[m.block]), "kernel": float(found.kernel[m.block]),
         "layer_score": float(found.layer_score[m.block]), "step": float(found.steps[m.block])}
        for rule, ranks in plans.items()
        for m, r in zip(found.matrices, ranks, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)
