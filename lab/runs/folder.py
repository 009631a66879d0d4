"""The folder of one record: `manifest.json`, one parquet file per table, `arrays.safetensors`.

The manifest (`lab.runs.manifest`) carries sha256 and length of every other file, and a sha256 of itself. So a flipped
byte anywhere in the folder is found, and named, when the record is read.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from lab.deferred import numpy as np
from lab.deferred import numpy_files, safetensors
from lab.deferred import pandas as pd
from lab.deferred import parquet as pq
from lab.deferred import pyarrow as pa
from lab.runs.errors import DamagedRecord
from lab.runs.job import key
from lab.runs.manifest import MANIFEST, manifest_text, read_file, read_manifest, remedy
from lab.runs.record import KEY, METRICS, Record

ARRAYS = "arrays.safetensors"


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
    text = manifest_text(record.job, files, record.provenance)
    for name, data in files.items():
        _write_file(folder / name, data)
    _write_file(folder / MANIFEST, text.encode())
    sync_folder(folder)


def read_folder(folder: Path, *, verify: bool = True) -> Record:
    """The record in `folder`.

    Raises:
        DamagedRecord: a file is missing, truncated or altered (without `verify`: only if it cannot be parsed), or what
            they hold is no record.
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
    try:
        (metrics,) = tables.pop(METRICS).to_pylist()
        del metrics[KEY]
        frames = {name: table.to_pandas(use_threads=False) for name, table in tables.items()}
        return Record(manifest.job, metrics, frames, arrays, manifest.provenance)
    except (KeyError, TypeError, ValueError) as error:  # whole files that hold no record
        raise DamagedRecord(f"{folder} holds no record ({error}); {remedy(folder)}") from error


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


def unparsable(path: Path, error: Exception) -> DamagedRecord:
    """What to raise when a file is whole, as far as one can see, but its format is broken."""
    return DamagedRecord(f"{path} cannot be parsed ({error}); {remedy(path.parent)}")
