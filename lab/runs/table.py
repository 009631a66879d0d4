"""Many records as one tidy table: DuckDB over the parquet files that the manifests list."""

from __future__ import annotations

import glob
from collections.abc import Sequence

from lab.deferred import duckdb
from lab.deferred import pandas as pd
from lab.deferred import parquet as pq
from lab.deferred import pyarrow as pa
from lab.runs.errors import Damaged, DamagedRecord, StoreError
from lab.runs.folder import parquet_file, unparsable
from lab.runs.job import flattened
from lab.runs.manifest import Manifest, read_file
from lab.runs.record import KEY, METRICS

STANDARD = ("seed", "tunable", "stored", "seconds", "device")  # columns that every table has, null where unknown

_MEASURED = ("seconds", "device")
_RECORD = "__record__"


def tabulate(
    manifests: Sequence[Manifest],
    name: str = METRICS,
    *,
    also: Sequence[str] = (),
    verify: bool = True,
    damaged: Damaged | None = None,
) -> pd.DataFrame:
    """One table of many records, each row with the job that made it.

    Columns, in this order: those of the table; the job's config, flattened (nested names joined by dots); `tunable`
    and `stored` from the record's metrics; `seconds` and `device` from its provenance; `experiment` and `key`. A name
    that is already taken by an earlier one gets its owner before it: ``job.d``, ``metric.stored``, ``run.seconds``.

    Args:
        manifests: the records; those without a table of this name are left out.
        name: which table.
        also: tables of the same records whose rows come after those of the first, where a record has them.
        verify: check the sha256 of each file first.
        damaged: takes what is wrong with those that cannot be read, by key; the table is that of the others.

    Raises:
        StoreError: there are records, but none of them has a table of this name.
        DamagedRecord: a file is missing, truncated, altered or no parquet, without `damaged`.
    """
    chosen = [manifest for manifest in manifests if name in manifest.tables]
    if manifests and not chosen:
        names = sorted({table for manifest in manifests for table in manifest.tables})
        raise StoreError(f"no record has a table {name!r}; these have: {', '.join(names)}")
    parts = [_whole(chosen, name, verify=verify, damaged=damaged)]
    for other in also:
        if having := [manifest for manifest in chosen if other in manifest.tables]:
            parts.append(_whole(having, other, verify=verify, damaged=damaged))
    if len(parts) == 1:
        return parts[0]
    order = {manifest.key: place for place, manifest in enumerate(chosen)}
    return pd.concat(parts).sort_values(KEY, key=lambda keys: keys.map(order), kind="stable", ignore_index=True)


def _whole(chosen: Sequence[Manifest], name: str, *, verify: bool, damaged: Damaged | None) -> pd.DataFrame:
    """The table of those that can be read, all of them without `damaged`."""
    try:
        return _tabulated(chosen, name, verify=verify)
    except DamagedRecord:
        if damaged is None:
            raise
    whole = [manifest for manifest in chosen if _readable(manifest, name, verify, damaged)]  # slow, but rare
    return _tabulated(whole, name, verify=verify)


def _tabulated(chosen: Sequence[Manifest], name: str, *, verify: bool) -> pd.DataFrame:
    if not chosen:
        return pd.DataFrame(columns=[*STANDARD, "experiment", KEY])
    rows = _read(chosen, name, verify=verify)
    origin = rows.pop(_RECORD).to_numpy()
    counts = rows if name == METRICS else _read(chosen, METRICS, verify=verify)
    table = rows.drop(columns=[KEY]) if name == METRICS else rows
    missing = [count for count in ("tunable", "stored") if name != METRICS or count not in counts]
    seed = {} if "seed" in table else {"seed": None}
    beside = {
        "job": pd.DataFrame([{**seed, **flattened(manifest.job.config)} for manifest in chosen]),
        "metric": counts.reindex(columns=missing),
        "run": pd.DataFrame(
            [{name: manifest.provenance.get(name) for name in ("seconds", "device")} for manifest in chosen]
        ),
        "record": pd.DataFrame([{"experiment": manifest.job.experiment, KEY: manifest.key} for manifest in chosen]),
    }
    for owner, columns in beside.items():
        free = columns.rename(columns={name: f"{owner}.{name}" for name in columns if name in table})
        table = pd.concat([table, free.iloc[origin].reset_index(drop=True)], axis=1)
    return table


def _readable(manifest: Manifest, name: str, verify: bool, damaged: Damaged) -> bool:
    """Whether the two tables of a record that are needed can be read; if not, what is wrong is noted."""
    try:
        for table in {name, METRICS}:
            _read([manifest], table, verify=verify)
    except DamagedRecord as error:
        damaged[manifest.key] = error
        return False
    return True


def _read(manifests: Sequence[Manifest], name: str, *, verify: bool) -> pd.DataFrame:
    """The rows of all records in order, with the position of their record in the column `_RECORD`."""
    groups: dict[pa.Schema, list[int]] = {}
    for position, manifest in enumerate(manifests):
        data = read_file(manifest, parquet_file(name), verify=verify)
        try:
            schema = pq.read_schema(pa.BufferReader(data)).remove_metadata()
        except (pa.ArrowException, OSError) as error:
            raise unparsable(manifest.folder / parquet_file(name), error) from error
        groups.setdefault(schema, []).append(position)
    with duckdb.connect(":memory:") as connection:
        parts = [_query(connection, schema, manifests, positions, name) for schema, positions in groups.items()]
    columns = list(dict.fromkeys(column for part in parts for column in part))
    filled = [part.dropna(axis=1, how="all") for part in parts]  # an all-null column would decide the dtype of the rest
    table = pd.concat(filled, ignore_index=True).reindex(columns=columns)
    return table.sort_values(_RECORD, kind="stable", ignore_index=True)


def _query(
    connection: duckdb.DuckDBPyConnection,
    schema: pa.Schema,
    manifests: Sequence[Manifest],
    positions: Sequence[int],
    name: str,
) -> pd.DataFrame:
    # One query per schema, columns taken by position: DuckDB ignores case, so that union_by_name would put a record's
    # `D` into another record's `d`.
    files = {str(manifests[position].folder / parquet_file(name)): position for position in positions}
    try:
        part = connection.execute(
            "SELECT * FROM read_parquet($files, filename='__file__')",
            {"files": [glob.escape(file) for file in files]},
        ).df()
    except duckdb.Error as error:
        raise DamagedRecord(f"a table {name!r} cannot be read: {error}") from error
    part.columns = pd.Index([*schema.names, _RECORD])
    part[_RECORD] = part[_RECORD].map(files)
    return part
