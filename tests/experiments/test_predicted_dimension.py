"""What the records of searches say of curvature and controllability, on planted tables."""

from __future__ import annotations

import pandas as pd
import pytest

from experiments.predicted_dimension import KERNEL, controllability_correlation, verdicts
from lab.runs import Job, Record


def record(i: int, effective_rank: float, measured: float | None) -> Record:
    rows = [
        {"label": str(i), "variant": variant, "measure": measure, "predicted": 10.0 - i, "measured": measured,
         "low": 1.0, "high": 2.0, "size": 1000, "effective_rank": effective_rank if variant == KERNEL else -i}
        for variant in (KERNEL, "Gauss-Newton at the solution")
        for measure in ("training loss", "score")
    ]  # fmt: skip
    config = {"task": f"task-{i}", "model": "tiny", "method": {"method": "bitfit"}}
    metrics = {"d90": 10 + i, "tunable": 1000, "score_status": "converged"}
    return Record(Job("predicted_dimension", config), metrics, {"predicted_dimension": pd.DataFrame(rows)})


def test_controllability_is_ranked_by_the_kernel_s_effective_rank_alone():
    planted = [record(i, 2.0 * i, 100.0 + i) for i in range(6)]
    assert controllability_correlation(planted).estimate == pytest.approx(1.0)
    unmeasured = [*planted, record(9, 0.0, None)]
    assert controllability_correlation(unmeasured).n == 6


def test_every_claim_is_judged_from_the_same_searches():
    found = {verdict.claim[:20]: verdict for verdict in verdicts([record(i, -float(i), 100.0 + i) for i in range(6)])}
    assert len(found) == 3  # two of the four claims begin alike
    assert found["Controllability expl"].answer == "does not hold here"
    assert found["A delta's solutions "].measured.estimate == pytest.approx(0.0125)
    assert found["The curvature spectr"].measured.estimate == pytest.approx(-1.0)
