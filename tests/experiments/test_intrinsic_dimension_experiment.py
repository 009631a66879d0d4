"""What the claim about d90 reads from a record: its scores, not the interval that was stored beside them."""

from __future__ import annotations

from dataclasses import replace
from math import inf, log

import pandas as pd
import pytest

from experiments.intrinsic_dimension import EXPERIMENT, LOW_SHARE, claims
from lab.execution import Local
from lab.runs import Job, Record, Store
from lab.study import Finding, Lab


def planted(noise: float, seeds: tuple[int, ...]) -> Finding:
    """Scores that rise by 0.1 per e-fold of d and reach 0.9 · 1 at d = 1,000; the stored interval has no width."""
    rows = [
        {"kind": "subspace", "d": d, "seed": seed, "score": 0.9 + 0.1 * log(d / 1000) + noise * (-1) ** seed}
        for d in (250, 500, 707, 990, 1400, 4000)
        for seed in seeds
    ]
    rows += [{"kind": "full", "d": 10**7, "seed": seed, "score": 1.0 + noise * (-1) ** seed} for seed in (0, 1)]
    metrics = {"d90": 1000, "d90_low": 1000.0, "d90_high": 1000.0, "native": 10**7, "evaluations": len(rows)}
    config = replace(EXPERIMENT.configs("demo")[0], seeds=seeds)
    return Finding(config, Record(Job("intrinsic_dimension", config.to_json()), metrics, {"runs": pd.DataFrame(rows)}))


def test_the_interval_is_that_of_the_scores():
    (verdict,) = claims([planted(0.01, (0, 1))])
    found = verdict.measured
    assert found.estimate == pytest.approx(1e-4)
    assert 0.5e-4 < found.low < 1e-4 < found.high < 2e-4
    assert (found.n, verdict.alone, verdict.answer) == (2, "holds here", "cannot tell")  # two seeds decide nothing
    (five,) = claims([planted(0.01, (0, 1, 2, 3, 4))])
    assert (five.measured.n, five.answer, five.measured.p_value(LOW_SHARE) < 0.05) == (5, "holds here", True)


def test_one_seed_decides_nothing():
    (verdict,) = claims([planted(0.0, (0,))])
    assert (verdict.measured.low, verdict.measured.high) == (0.0, inf)
    assert verdict.answer == "cannot tell"


def test_where_nothing_was_learned_nothing_is_judged():
    finding = planted(0.01, (0, 1))
    finding.record.metrics["d90"] = None
    assert claims([finding]) == []


def test_the_smoke_run_searches_though_it_learns_nothing_and_other_scales_do_not():
    assert not EXPERIMENT.configs("smoke")[0].only_learned
    assert all(c.only_learned for scale in ("demo", "paper") for c in EXPERIMENT.configs(scale))
    assert "only_learned" not in EXPERIMENT.configs("demo")[0].to_json()  # the keys of older records stay


def test_every_row_has_the_best_of_as_many_step_sizes(tmp_path):
    """Probe, first dimension and random weights each try both multiples on the first seed, and keep the best."""
    (c,) = EXPERIMENT.configs("smoke", multiples=(1.0, 8.0))
    store = Store(tmp_path)
    table = Lab(Local(store, progress=False)).one(EXPERIMENT, c).tables["runs"]
    rows = [(r.job.config, r.metrics) for r in store.records("training_run")]

    def tried(method: str, weights: str, d: int | None) -> dict[float, float]:
        return {
            m["step_size"]: m["score"]
            for job, m in rows
            if (job["method"]["method"], job["weights"], job["method"].get("dimension")) == (method, weights, d)
        }

    probe = table[table.kind == "linear_probe"].iloc[0]
    sizes = tried("linear-probe", "pretrained", None)
    assert len(sizes) == 2
    assert max(sizes) == pytest.approx(8 * min(sizes))
    assert sizes[probe.step_size] == max(sizes.values())
    null = table[table.kind == "random_weights"].iloc[0]
    assert len(tried("did", "random", int(null.d))) == 2
    at_start = tried("did", "pretrained", c.start)
    assert len(at_start) == 2
    first = table[(table.kind == "subspace") & (table.d == c.start)].iloc[0]
    assert at_start[first.step_size] == max(at_start.values())


@pytest.mark.parametrize("head", ["inside", "frozen"])
def test_a_plm_of_fewer_weights_than_dimensions_is_searched_up_to_all_of_them(tmp_path, head):
    (c,) = EXPERIMENT.configs("smoke", start=10**6, max_dimension=10**9, head=head, max_evaluations=1)
    finding = Lab(Local(Store(tmp_path), progress=False)).one(EXPERIMENT, c)
    dimensions = finding.tables["runs"].set_index("kind").d
    probe, subspace = (dimensions[kind] for kind in ("linear_probe", "subspace"))
    assert subspace == finding.metrics["native"] - (0 if head == "inside" else probe)


def test_without_multiples_the_key_and_the_step_sizes_are_the_rules():
    (c,) = EXPERIMENT.configs("smoke")
    assert "multiples" not in EXPERIMENT.job(c).config
