"""The learning coefficient as experiments: the closed form is met, and a delta's stands beside its curvature."""

from __future__ import annotations

import pandas as pd
import pytest

from experiments import learning_coefficient, reduced_rank
from lab.execution import Local
from lab.geometry.learning_coefficient import reduced_rank_singularity
from lab.runs import Job, Record, Store
from lab.study import Finding, Lab


@pytest.fixture
def lab(tmp_path) -> Lab:
    return Lab(Local(Store(tmp_path), progress=False))


def test_every_rank_of_the_truth_has_its_closed_form(lab):
    (c,) = reduced_rank.EXPERIMENT.configs("smoke", inputs=4, outputs=3, hidden=2)
    table = lab.one(reduced_rank.EXPERIMENT, c).tables["learning_coefficient"]
    assert table.label.tolist() == ["rank 0", "rank 1", "rank 2"]
    assert table.closed_form.tolist() == [reduced_rank_singularity(4, 3, 2, r).coefficient for r in range(3)]
    assert (table.dimension == 2 * (4 + 3)).all()


def test_the_estimate_of_a_product_is_its_closed_form(lab):
    """½(ab)² at n = 10³, where the posterior itself shows about 0.35 of ½; two regular numbers would have 1."""
    (c,) = reduced_rank.EXPERIMENT.configs(
        "smoke", inputs=1, outputs=1, hidden=1, n=1000, step=1e-3, draws=4000, burn_in=500, chains=4
    )
    table = lab.one(reduced_rank.EXPERIMENT, c).tables["learning_coefficient"].set_index("label")
    assert table.estimate["rank 0"] == pytest.approx(0.37, abs=0.12)
    assert table.estimate["rank 1"] == pytest.approx(0.5, abs=0.12)


def test_the_verdict_is_about_the_worst_rank():
    def finding(seed: int, worst: float) -> Finding:
        c = reduced_rank.ReducedRank(seed=seed)
        return Finding(c, Record(Job("reduced_rank", c.to_json()), {"worst_relative_difference": worst}))

    (close,) = reduced_rank.claims([finding(seed, 0.1 + seed / 100) for seed in range(5)])
    (far,) = reduced_rank.claims([finding(seed, 0.4 + seed / 100) for seed in range(5)])
    assert (close.answer, far.answer, close.unit) == ("holds here", "does not hold here", "seeds")


def test_a_delta_has_estimate_curvature_and_the_closed_form_of_its_matrices(lab):
    (c,) = learning_coefficient.EXPERIMENT.configs("smoke")
    record = lab.one(learning_coefficient.EXPERIMENT, c)
    (row,) = record.tables["learning_coefficient"].to_dict("records")
    delta = c.analysed()
    assert (row["dimension"], record.metrics["status"]) == (delta.size, "finished")
    assert 0 < row["quadratic"] < delta.size / 2
    matrices = 2 * delta.plm.n_blocks  # query and value, (n, n); of rank 1 each has 2n numbers
    n = delta.size // (2 * matrices)
    assert row["closed_form"] == pytest.approx(matrices * reduced_rank_singularity(n, n, 1, 1).coefficient)


def test_a_method_without_factors_has_no_closed_form(lab):
    (c,) = learning_coefficient.EXPERIMENT.configs("smoke", seed=1)
    c = c.to(type(c), method={"method": "bitfit", "head": "frozen"})
    table = lab.one(learning_coefficient.EXPERIMENT, c).tables["learning_coefficient"]
    assert pd.isna(table.closed_form.iloc[0])
