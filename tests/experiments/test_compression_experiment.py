"""Compression: every description is evaluated as it is decoded, its bits are counted, and the best is paid for."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pandas as pd
import pytest

from experiments.compression import EXPERIMENT, claims
from lab.execution import Local
from lab.geometry.risk_bounds import description_cost, kl_bound
from lab.runs import Job, Record, Store
from lab.study import Finding, Lab


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> Record:
    store = Store(tmp_path_factory.mktemp("runs"))
    return Lab(Local(store, progress=False)).one(EXPERIMENT, *EXPERIMENT.configs("smoke")).record


def test_every_dimension_is_written_with_every_number_of_levels(record):
    table = record.tables["compression"]
    assert table.groupby("dimension")["levels"].apply(list).to_dict() == {2: [0, 1, 3], 8: [0, 1, 3]}
    as_trained = table[table["levels"] == 0]
    assert as_trained.bits.tolist() == (32 * as_trained.dimension).tolist()
    assert (table.examples == 64).all()


def test_bounds_are_those_of_the_decoded_coordinates_and_pay_for_the_choice(record):
    for row in record.tables["compression"].itertuples():
        cost = description_cost(row.bits) + log(2 * 2)  # two dimensions, two numbers of levels
        assert row.kl == pytest.approx(kl_bound(row.train_error, 64, cost))
        assert 0 <= row.train_error <= 1
        assert row.train_error < row.kl <= 1
    assert record.metrics["best_kl"] == record.tables["compression"].query("levels > 0").kl.min()


def test_one_level_for_all_coordinates_is_the_shortest_description(record):
    by_levels = record.tables["compression"].groupby("levels").bits.max()
    assert by_levels[1] < by_levels[3]


def test_a_metric_that_is_no_share_of_wrong_answers_is_refused(tmp_path, monkeypatch):
    c = EXPERIMENT.configs("smoke")[0]
    accuracy = c.data
    odd = replace(accuracy, metric=replace(accuracy.metric, name="matthews"))
    monkeypatch.setattr("lab.study.training_run.open_task", lambda *_, **__: odd)
    with pytest.raises(ValueError, match="the metric of bbc-news is matthews"):
        EXPERIMENT.measure(c, Lab(Local(Store(tmp_path), progress=False)))


def planted(seed: int, bound: float, held_out: float) -> Finding:
    c = replace(EXPERIMENT.configs("demo")[0], seed=seed)
    table = pd.DataFrame({"held_out_error": [held_out, 0.1], "kl": [bound, 0.9]})
    metrics = {"majority_bound": 0.52, "best_kl": bound}
    return Finding(c, Record(Job("compression", c.to_json()), metrics, {"compression": table}))


def test_verdicts_on_planted_bounds():
    useful, kept = claims([planted(seed, 0.40 + seed / 100, 0.25) for seed in range(5)])
    assert (useful.answer, useful.unit, useful.measured.estimate) == ("holds here", "seeds", pytest.approx(0.10))
    assert (kept.answer, kept.exact) == ("holds here", True)
    empty, broken = claims([planted(seed, 0.60 + seed / 100, 0.7) for seed in range(5)])
    assert (empty.answer, broken.answer) == ("does not hold here", "does not hold here")
