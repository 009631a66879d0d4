"""What experiments that train share: runs of a budget, a row per run, every order of deltas, one fixed batch."""

from __future__ import annotations

from dataclasses import dataclass

from lab.runs import Job, Record
from lab.study import Budget, Config, Finding, TrainingRun, Workload, scored_rows, setting
from lab.study.fixed_batch import fixed_batch, fixed_batch_of
from lab.study.stages import every_order

AMOUNT = {"steps": 3, "n_train": 8, "n_validation": 4, "max_length": 8, "batch_size": 2}


def test_a_run_of_a_workload_has_its_fields_and_its_own():
    wanted = TrainingRun(model="tiny-bert", task="imdb", method={"method": "bitfit"}, seed=1, lr=0.1, **AMOUNT)
    assert Budget(model="tiny-bert", task="imdb", **AMOUNT).child(method={"method": "bitfit"}, seed=1, lr=0.1) == wanted
    work = Workload(**AMOUNT)
    assert work.child(model="tiny-bert", task="imdb", method={"method": "bitfit"}, seed=1, lr=0.1) == wanted
    assert (work.judged, Workload(**AMOUNT, splits=3).judged) == ("validation", "test")


def test_a_row_holds_the_test_score_where_there_is_one():
    runs = [
        Finding(None, Record(Job("x", {}), {"score": 0.5, "tunable": 7} | more)) for more in ({}, {"test_score": 0.4})
    ]
    table = scored_rows([{"seed": 0}, {"seed": 1}], runs, ("tunable",))
    assert table.to_dict("list") == {"seed": [0, 1], "score": [0.5, 0.4], "tunable": [7, 7]}


def test_orders_that_begin_alike_are_trained_once_up_to_there():
    trained = []

    def train(plm, new):
        trained.append((plm, new))
        return {"score": len(plm)}, f"{plm}{new}"

    rows = every_order(("a", "b", "c"), "", train)
    assert len(trained) == 3 + 3 * 2 + 3 * 2
    assert len(rows) == 6 * 3
    assert sorted({row["order"] for row in rows if row["score"] == 2}) == sorted(
        ["a → b → c", "a → c → b", "b → a → c", "b → c → a", "c → a → b", "c → b → a"]
    )
    assert {row["stage"] - row["score"] for row in rows} == {1}


def test_a_fixed_batch_takes_from_a_config_what_it_needs():
    @dataclass(frozen=True, kw_only=True)
    class Asked(Config):
        model: str = setting("name", "tiny-bert")
        task: str = setting("name", "rotten-tomatoes")
        seed: int = setting("of all", 0)
        sentences: int = setting("in the batch", 2)
        tokens: int = setting("of each", 6)
        other: int = setting("of no concern", 1)

    method = {"method": "bitfit"}
    found = fixed_batch_of(Asked(), method=method, tokens=5)
    same = fixed_batch(model="tiny-bert", task="rotten-tomatoes", method=method, seed=0, sentences=2, tokens=5)
    assert found.batch["input_ids"].tolist() == same.batch["input_ids"].tolist()
    assert found.batch["input_ids"].shape[0] == 2
