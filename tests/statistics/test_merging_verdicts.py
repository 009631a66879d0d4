"""Verdicts on merging and on intrinsic prompt tuning: planted numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.statistics.intrinsic_prompt import HIDDEN, LINEAR, PCA, intrinsic_verdicts
from lab.statistics.merging import LEAST_SQUARES, MEAN, TIES, kept_more, merging_verdicts


def merged() -> pd.DataFrame:
    """Own changes gain 0.4 on five tasks, and nothing on a sixth."""
    rows = []
    for t in range(5):
        relative = 0.3 + 0.05 * t
        rows += [
            {"merge": MEAN, "task": f"t{t}", "relative": relative},
            {"merge": LEAST_SQUARES, "task": f"t{t}", "relative": relative + 0.2 + 0.01 * t},
            {"merge": TIES, "task": f"t{t}", "relative": relative + (-1) ** t * 0.1},
        ]
    table = pd.DataFrame(rows).assign(own=0.9, chance=0.5)
    learned = table.assign(score=0.5 + 0.4 * table.relative)
    return pd.concat([learned, learned[learned.task == "t0"].assign(task="t5", own=0.5, score=0.5)])


def costs(*, told_by: str) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = []
    for i in range(8):
        for j in range(8):
            if i != j:
                row = {"one": f"t{i}", "other": f"t{j}", "overlap": generator.uniform(), "size": generator.uniform()}
                rows.append(row | {"excess": 2 * row[told_by] + 0.05 * generator.normal()})
    return pd.DataFrame(rows)


def test_a_merge_is_compared_with_the_mean_on_all_tasks():
    kept = kept_more(merged(), LEAST_SQUARES)
    assert list(kept) == ["t0", "t1", "t2", "t3", "t4", "t5"]
    assert kept["t1"] == pytest.approx((0.4 * 0.21, 0.4))
    assert kept["t5"] == (0.0, 0.0)
    assert kept_more(merged(), "no such merge") == {}
    answers = {
        v.claim.split(" by ")[1].split(" keeps")[0]: v.answer
        for v in merging_verdicts(merged(), costs(told_by="overlap"), "")[:2]
    }
    assert answers == {TIES: "cannot tell", LEAST_SQUARES: "holds here"}


def test_angles_are_judged_beside_sizes():
    by_angles = [
        v.answer for v in merging_verdicts(merged(), costs(told_by="overlap"), "here") if v.figure == "interference"
    ]
    by_sizes = [
        v.answer for v in merging_verdicts(merged(), costs(told_by="size"), "here") if v.figure == "interference"
    ]
    assert by_angles == ["holds here", "holds here"]
    assert by_sizes[1] == "does not hold here"


def test_an_autoencoder_is_judged_beside_pca_and_beside_the_paper():
    rows = [
        {"row": row, "task": f"{seen} {t}", "seen": seen, "k": k, "relative": level + more + 0.01 * t}
        for seen, level in (("seen", 0.9), ("unseen", 0.4))
        for row, more in ((PCA, 0.0), (LINEAR, 0.1), (HIDDEN, -0.1 if seen == "unseen" else 0.05))
        for k in (2, 5)
        for t in range(5)
    ]
    table = pd.DataFrame(rows)
    scored = table.assign(score=0.2 + 0.5 * table.relative, full=0.7, chance=0.2)
    found = [v.answer for v in intrinsic_verdicts(scored, "here")]
    assert found == ["holds here", "does not hold here", "holds here", "does not hold here"]
