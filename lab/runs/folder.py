"""The folder of one record: `manifest.json`, one parquet file per table, `arrays.safetensors`.

The manifest carries the job, the provenance and sha256 and length of every other file, and a sha256 of itself. So a
flipped byte anywhere in the folder is found, and named, when the record is read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.deferred import numpy as np
from lab.deferred import numpy_files, safetensors
from lab.deferred import pandas as pd
from lab.deferred import parquet as pq
from lab.deferred import pyarrow as pa
from lab.runs.errors import DamagedRecord
from lab.runs.job import Job, key
from lab.runs.record import KEY, METRICS, Record

FORMAT = 1
MANIFEST = "manifest.json"
ARRAYS = "arrays.safetensors"


@dataclass(frozen=True)
class Manifest:
    """The head of a record: everything but its numbers. `files` maps a file name to its ``sha256`` and ``bytes``."""

    folder: Path
    job: Job
    files: Mapping[str, Mapping[str, Any]]
    provenance: Mapping[str, Any]

    @property
    def key(self) -> str:
        return key(self.job)

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables, `metrics` first."""
        names = sorted(Path(file).stem for file in self.files if file.endswith(".parquet"))
        return tuple(sorted(names, key=lambda name: (name != METRICS, name)))


def write_folder(record: Record, folder: Path) -> None:
    """Writes a record into an existing empty folder, every file and the folder itself forced to disk.

    Raises:
        ValueError: a table with a column that parquet cannot hold (several types in one column), a provenance that
            JSON cannot hold.
        OSError: the disk is full, or not writable.
    """
    files = {parquet_file(METRICS): _metrics_bytes(record)}
    files |= {parquet_file(name): _table_bytes(name, table) for name, table in record.tables.items()}
    if record.arrays:
        native = {name: np.array(a, dtype=a.dtype.newbyteorder("="), order="C") for name, a in record.arrays.items()}
        files[ARRAYS] = numpy_files.save(native)
    body = {
        "format": FORMAT,
        "experiment": record.job.experiment,
        "config": record.job.config,
        "files": {name: {"sha256": _sha256(data), "bytes": len(data)} for name, data in files.items()},
        "provenance": dict(record.provenance),
    }
    try:
        manifest = {**body, "sha256": _body_sha256(body)}
        text = json.dumps(manifest, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the provenance is no JSON ({error}); use str, bool, int, finite float, list, dict"
        ) from error
    for name, data in files.items():
        _write_file(folder / name, data)
    _write_file(folder / MANIFEST, text.encode())
    sync_folder(folder)


def read_manifest(folder: Path) -> Manifest:
    """The verified head of the record in `folder`.

    Raises:
        DamagedRecord: the manifest is missing, unreadable, altered, of another format, or belongs to another key.
    """
    path = folder / MANIFEST
    try:
        body = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise DamagedRecord(f"{path} cannot be read ({error}); {_remedy(folder)}") from error
    if not isinstance(body, dict) or body.pop("sha256", None) != _body_sha256(body):
        raise DamagedRecord(f"{path} was altered after it was written: its sha256 does not fit; {_remedy(folder)}")
    if body.get("format") != FORMAT:
        raise DamagedRecord(
            f"{path} has format {body.get('format')!r}, this version reads {FORMAT}; install the deltalab that wrote it"
        )
    manifest = Manifest(folder, Job(body["experiment"], body["config"]), body["files"], body["provenance"])
    if manifest.key != folder.name:
        raise DamagedRecord(f"{path} holds the job with key {manifest.key}, not {folder.name}: was the folder renamed?")
    return manifest


def read_folder(folder: Path, *, verify: bool = True) -> Record:
    """The record in `folder`.

    Raises:
        DamagedRecord: a file is missing, truncated or altered (without `verify`: only if it cannot be parsed).
    """
    manifest = read_manifest(folder)
    tables: dict[str, pa.Table] = {}
    for name in manifest.tables:
        data = read_file(manifest, parquet_file(name), verify=verify)
        try:
            # no threads: tables are small, and a process that ends while Arrow starts its threads is aborted (rarely)
            tables[name] = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise unparsable(folder / parquet_file(name), error) from error
    arrays: dict[str, np.ndarray] = {}
    if ARRAYS in manifest.files:
        try:
            arrays = numpy_files.load(read_file(manifest, ARRAYS, verify=verify))
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise unparsable(folder / ARRAYS, error) from error
    metrics = tables.pop(METRICS).to_pylist()[0]
    del metrics[KEY]
    frames = {name: table.to_pandas(use_threads=False) for name, table in tables.items()}
    return Record(manifest.job, metrics, frames, arrays, manifest.provenance)


def read_file(manifest: Manifest, name: str, *, verify: bool = True) -> bytes:
    """The bytes of one file of a record, checked against the manifest.

    Raises:
        DamagedRecord: the file is missing, truncated or altered.
    """
    path, expected = manifest.folder / name, manifest.files[name]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedRecord(f"{path} cannot be read ({error}); {_remedy(manifest.folder)}") from error
    if len(data) != expected["bytes"]:
        raise DamagedRecord(
            f"{path} has {len(data)} bytes, its manifest says {expected['bytes']}; {_remedy(manifest.folder)}"
        )
    if verify and _sha256(data) != expected["sha256"]:
        raise DamagedRecord(
            f"{path} was altered after it was written: its sha256 does not fit; {_remedy(manifest.folder)}"
        )
    return data


def sync_folder(folder: Path) -> None:
    """Forces the names in a folder to disk, where the file system can do that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def parquet_file(table: str) -> str:
    """The file name of a table."""
    return f"{table}.parquet"


def _metrics_bytes(record: Record) -> bytes:
    # from_pylist keeps None and NaN apart, and int, float, bool and str as they are; the key makes a row of no metrics
    return _parquet_bytes(pa.Table.from_pylist([{KEY: key(record.job), **record.metrics}]))


def _table_bytes(name: str, table: pd.DataFrame) -> bytes:
    try:
        return _parquet_bytes(pa.Table.from_pandas(table, preserve_index=False, nthreads=1))
    except pa.ArrowException as error:
        raise ValueError(f"table {name!r} cannot be stored: {error}; keep one type per column") from error


def _parquet_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _write_file(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _body_sha256(body: Mapping[str, Any]) -> str:
    return _sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _remedy(folder: Path) -> str:
    return f"delete the folder {folder} and run the job again, or restore it from a copy"


def unparsable(path: Path, error: Exception) -> DamagedRecord:
    """What to raise when a file is whole, as far as one can see, but its format is broken."""
    return DamagedRecord(f"{path} cannot be parsed ({error}); {_remedy(path.parent)}")
