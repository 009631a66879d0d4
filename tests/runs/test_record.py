from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from lab.runs import Job, Record

JOB = Job("toy", {"d": 1})


def test_numpy_scalars_become_python_scalars():
    metrics = Record(JOB, {"a": np.float32(0.5), "n": np.int64(3), "ok": np.bool_(True)}).metrics
    assert metrics == {"a": 0.5, "n": 3, "ok": True}
    assert [type(value) for value in metrics.values()] == [float, int, bool]


def test_a_record_is_frozen():
    record = Record(JOB, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.metrics = {}  # type: ignore[misc]


def test_metrics_must_be_scalars():
    with pytest.raises(TypeError, match="metric 'loss' is a ndarray; expected a scalar"):
        Record(JOB, {"loss": np.zeros(2)})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="a metric is called 'key'"):
        Record(JOB, {"key": 1})


@pytest.mark.parametrize(
    ("name", "table", "error", "message"),
    [
        ("metrics", pd.DataFrame(), ValueError, "the name of the metrics' own table"),
        ("../x", pd.DataFrame(), ValueError, "expected letters, digits"),
        ("t", {"a": [1]}, TypeError, "table 't' is a dict; expected a pandas DataFrame"),
        ("t", pd.DataFrame({"a": [1]}).set_index("a"), ValueError, r"call \.reset_index\(\)"),
        ("t", pd.DataFrame({0: [1]}), ValueError, "expected distinct strings"),
        ("t", pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "expected distinct strings"),
    ],
)
def test_tables_that_would_not_come_back_are_refused(name, table, error, message):
    with pytest.raises(error, match=message):
        Record(JOB, {}, {name: table})


@pytest.mark.parametrize("array", [[1.0], np.array(["a"]), np.array([object()]), np.array([1 + 2j])])
def test_arrays_must_be_numeric(array):
    with pytest.raises(TypeError, match=r"array 'phi' is a .*; expected a numeric or boolean numpy array"):
        Record(JOB, {}, {}, {"phi": array})
