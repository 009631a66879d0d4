"""A record: what was measured for one job, and under which circumstances."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.deferred import numpy as np
from lab.deferred import pandas as pd
from lab.faces import Facts, faced
from lab.runs.job import Job, key

Scalar = float | int | bool | str | None

METRICS = "metrics"  # the name of the table that holds one row per record; not free for other tables
KEY = "key"  # the column that names the record; not free for metrics

_TABLE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_ARRAY_KINDS = "fiub"  # what safetensors stores: floats, signed and unsigned integers, booleans


def _facts(record: Record) -> Facts:
    config = {name: value for name, value in record.job.config.items() if not isinstance(value, dict)}
    numbers = {name: value for name, value in record.metrics.items() if not isinstance(value, str)}
    return {
        "key": key(record.job)[:12],
        "job": ", ".join(f"{name} {value}" for name, value in config.items()) or None,
        "metrics": ", ".join(f"{name} {value:.4g}" for name, value in numbers.items() if value is not None) or None,
        "tables": ", ".join(f"{name} ({len(table)} rows)" for name, table in record.tables.items()) or None,
        "arrays": ", ".join(f"{name} {array.shape}" for name, array in record.arrays.items()) or None,
        "device": record.provenance.get("device"),
        "seconds": record.provenance.get("seconds"),
    }


@faced(_facts, lambda record: f"Record of {record.job.experiment}")
@dataclass(frozen=True, eq=False)
class Record:
    """The answer to a job.

    Args:
        job: what was asked.
        metrics: one scalar per name (float, int, bool, str or None; NaN is a value: a run that diverged says so).
            ``tunable`` and ``stored`` are the trained and the stored parameter counts, where there are any; every
            table row carries them.
        tables: tidy tables (one row per observation, units in the column's documentation). Named indices are refused,
            because an index is not stored.
        arrays: numeric or boolean arrays.
        provenance: JSON values. What is known here (``device``, ``seeds``) is kept; the engine adds the rest
            (`lab.runs.provenance`).

    Raises:
        TypeError: a metric that is no scalar, a table that is no DataFrame, an array that is not numeric.
        ValueError: a metric called ``key``, a table called ``metrics`` or with an unusable name, a named index,
            column names that are not distinct strings.
    """

    job: Job
    metrics: Mapping[str, Scalar]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", {name: _scalar(name, value) for name, value in self.metrics.items()})
        object.__setattr__(self, "tables", {name: _table(name, table) for name, table in self.tables.items()})
        object.__setattr__(self, "arrays", {name: _array(name, array) for name, array in self.arrays.items()})
        object.__setattr__(self, "provenance", dict(self.provenance))


def _scalar(name: str, value: object) -> Scalar:
    if name == KEY:
        raise ValueError(f"a metric is called {KEY!r}, which names the record in every table; choose another name")
    if isinstance(value, np.generic):
        value = value.item()
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise TypeError(f"metric {name!r} is a {type(value).__name__}; expected a scalar (a tensor's .item())")
    return value


def _table(name: str, table: pd.DataFrame) -> pd.DataFrame:
    if name == METRICS:
        raise ValueError(f"a table is called {METRICS!r}, the name of the metrics' own table; choose another name")
    if not _TABLE_NAME.fullmatch(name):
        raise ValueError(f"a table is called {name!r}; expected letters, digits, '_' and '-' (it names a file)")
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"table {name!r} is a {type(table).__name__}; expected a pandas DataFrame")
    if any(level is not None for level in table.index.names):
        raise ValueError(f"table {name!r} has the index {list(table.index.names)}; call .reset_index() to keep it")
    if not all(isinstance(column, str) for column in table.columns) or not table.columns.is_unique:
        raise ValueError(f"table {name!r} has the columns {list(table.columns)}; expected distinct strings")
    return table.reset_index(drop=True)


def _array(name: str, array: np.ndarray) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in _ARRAY_KINDS:
        kind = f"array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"array {name!r} is a {kind}; expected a numeric or boolean numpy array (tensor.cpu().numpy())")
    return array
