from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lab.runs import Job, Record, Store, StoreError, key, table_with

KNOWN = {"seconds": 1.5, "device": "abacus"}


def put(store: Store, config: dict, metrics: dict, experiment: str = "toy", **tables: pd.DataFrame) -> Job:
    job = Job(experiment, config)
    store.put(Record(job, metrics, tables, provenance=KNOWN))
    return job


def test_metrics_stand_beside_the_flattened_job(tmp_path):
    store = Store(tmp_path)
    job = put(
        store,
        {"method": {"name": "LoRA", "rank": 8}, "targets": ("q", "v"), "seed": 3},
        {"loss": 0.5, "tunable": 10, "stored": 5, "status": "finished", "ok": True},
    )
    table = store.table("toy")
    assert table.iloc[0].to_dict() == {
        "loss": 0.5,
        "tunable": 10,
        "stored": 5,
        "status": "finished",
        "ok": True,
        "method.name": "LoRA",
        "method.rank": 8,
        "targets": '["q", "v"]',
        "seed": 3,
        "seconds": 1.5,
        "device": "abacus",
        "experiment": "toy",
        "key": key(job),
    }
    assert [table[name].dtype.kind for name in ("loss", "tunable", "ok", "seed")] == ["f", "i", "b", "i"]


def test_every_row_of_a_table_carries_its_job_and_the_standard_columns(tmp_path):
    store = Store(tmp_path)
    curve = pd.DataFrame({"step": [0, 1], "loss": [1.0, np.nan]})
    for seed in (0, 1):
        put(store, {"seed": seed}, {"tunable": 10 + seed, "stored": 5}, curve=curve.assign(loss=curve["loss"] * seed))
    put(store, {"seed": 2}, {"tunable": 1})  # without a curve
    table = store.table("toy", "curve").sort_values(["seed", "step"], ignore_index=True)
    assert table["step"].tolist() == [0, 1, 0, 1]
    assert table["seed"].tolist() == [0, 0, 1, 1]
    assert table["tunable"].tolist() == [10, 10, 11, 11]
    np.testing.assert_array_equal(table["loss"], [0.0, np.nan, 1.0, np.nan])
    assert {"stored", "seconds", "device", "experiment", "key"} <= set(table.columns)


def test_standard_columns_are_there_when_nothing_is_known(tmp_path):
    store = Store(tmp_path)
    store.put(Record(Job("toy", {}), {"loss": 1.0}))
    table = store.table("toy")
    assert table[["seed", "tunable", "stored", "seconds", "device"]].isna().all().all()
    assert list(Store(tmp_path / "none").table("toy").columns[:5]) == ["seed", "tunable", "stored", "seconds", "device"]


def test_a_name_that_is_taken_gets_its_owner_before_it(tmp_path):
    store = Store(tmp_path)
    runs = pd.DataFrame({"seed": [7], "d": [5], "tunable": [4]})
    put(store, {"d": 100, "seed": 0, "device": "cuda"}, {"tunable": 1, "seconds": 9.0}, runs=runs)
    row = store.table("toy", "runs").iloc[0]
    assert (row["d"], row["job.d"]) == (5, 100)
    assert (row["seed"], row["job.seed"]) == (7, 0)
    assert (row["tunable"], row["metric.tunable"]) == (4, 1)
    assert (row["device"], row["run.device"]) == ("cuda", "abacus")
    row = store.table("toy").iloc[0]
    assert (row["seconds"], row["run.seconds"]) == (9.0, 1.5)


def test_columns_that_differ_in_case_only_stay_apart(tmp_path):
    """DuckDB ignores case: its own union of these files puts the lone `D` into `d`."""
    store = Store(tmp_path)
    for i, metrics in enumerate([{"d": 1, "D": 2}, {"D": 3, "d": 4}, {"D": 5}, {"d": 6}]):
        put(store, {"i": i}, metrics)
    table = store.table("toy").sort_values("i")
    np.testing.assert_array_equal(table["d"].to_numpy(dtype=float), [1, 4, np.nan, 6])
    np.testing.assert_array_equal(table["D"].to_numpy(dtype=float), [2, 3, 5, np.nan])


def test_records_of_different_shape_and_type_make_one_table(tmp_path):
    store = Store(tmp_path)
    rows: list[dict] = [{"x": 1}, {"x": 0.5}, {"x": None}, {"x": "high"}, {"y": True}, {}]
    for i, metrics in enumerate(rows):
        put(store, {"i": i}, metrics)
    table = store.table("toy").sort_values("i", ignore_index=True)
    assert table["x"].where(table["x"].notna(), None).tolist() == [1, 0.5, None, "high", None, None]
    assert table["y"].where(table["y"].notna(), None).tolist() == [None] * 4 + [True, None]


def test_empty_tables_keep_their_columns(tmp_path):
    store = Store(tmp_path)
    put(store, {"i": 0}, {}, runs=pd.DataFrame({"a": pd.Series([], dtype="int64")}))
    assert len(store.table("toy", "runs")) == 0
    put(store, {"i": 1}, {}, runs=pd.DataFrame({"a": [4]}))
    table = store.table("toy", "runs")
    assert table["a"].tolist() == [4]
    assert table["i"].tolist() == [1]


def test_the_folder_of_a_store_may_have_any_name(tmp_path):
    """read_parquet takes its file names for patterns."""
    store = Store(tmp_path / "runs[1]*? 'é'")
    put(store, {"i": 0}, {"x": 1})
    assert store.table("toy")["x"].tolist() == [1]


def test_several_experiments_make_one_table(tmp_path):
    store = Store(tmp_path)
    put(store, {"i": 0}, {"x": 1}, "one")
    put(store, {"i": 0}, {"x": 2}, "two")
    assert dict(zip(*store.table()[["experiment", "x"]].to_numpy().T, strict=True)) == {"one": 1, "two": 2}


def test_an_unknown_table_lists_those_there_are(tmp_path):
    store = Store(tmp_path)
    put(store, {}, {}, curve=pd.DataFrame({"a": [1]}))
    with pytest.raises(StoreError, match="no record has a table 'runs'; these have: curve, metrics"):
        store.table("toy", "runs")


def test_table_with_finds_what_a_figure_needs(tmp_path):
    store = Store(tmp_path)
    put(store, {"seed": 0}, {"score": 1.0}, "search", points=pd.DataFrame({"d": [1], "score": [0.5]}))
    put(store, {"seed": 0}, {"score": 1.0}, "train", history=pd.DataFrame({"step": [1], "loss": [0.5]}))
    put(store, {"seed": 0}, {"score": 1.0}, "sweep", history=pd.DataFrame({"step": [1], "loss": [0.7]}))
    experiment, table = table_with(store, ["d", "score", "seed"], name="anything")
    assert (experiment, table["d"].tolist()) == ("search", [1])
    experiment, table = table_with(store, ["step", "loss"], name="history", experiment="sweep")
    assert (experiment, table["loss"].tolist()) == ("sweep", [0.7])
    with pytest.raises(StoreError, match="several experiments have the columns step, loss: sweep, train; choose one"):
        table_with(store, ["step", "loss"], name="history")
    with pytest.raises(StoreError, match="no table in the runs of train has the columns d; run an experiment"):
        table_with(store, ["d"], name="points", experiment="train")
