"""Rows of Parquet files. A file of a megabyte can declare 10⁸ rows, so the count is checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.tasks.columns import EXPECTED, BadFile, Columns, TextColumn, find_columns

MAX_ROWS = 5_000_000
"""More than any of the public classification sets has (amazon's 3.6 million reviews)."""

MAX_BYTES = 4 << 30
"""Unpacked: of all columns as declared, of those that are read as counted while reading."""

BATCH = 256

Row = tuple[str, Mapping[str, Any]]


def parquet_rows(path: Path, text: TextColumn, label: str | None) -> tuple[Columns, list[Row]]:
    """The columns of a Parquet file, and its rows with where each is: "file, row n".

    Raises:
        BadFile: damaged, more than `MAX_ROWS` rows or `MAX_BYTES` bytes, or without the columns.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = list(file.schema_arrow.names)
        n_rows = file.metadata.num_rows
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise BadFile(f"{path} is damaged or no Parquet file ({error}).") from error
    if n_rows > MAX_ROWS:
        raise BadFile(f"{path} declares {n_rows:,} rows; at most {MAX_ROWS:,} are read. Save a part of it.")
    columns = find_columns(names, str(path), text, label)
    rows: list[Row] = []
    size = 0
    try:
        wanted = [*columns.texts, columns.label]
        if _declared(file) > MAX_BYTES:
            raise _too_big(path)
        for batch in file.iter_batches(batch_size=BATCH, columns=wanted):
            size += batch.nbytes
            if size > MAX_BYTES:
                raise _too_big(path)
            rows += [(f"{path}, row {len(rows) + i + 1}", row) for i, row in enumerate(batch.to_pylist())]
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} is damaged: its columns {wanted} cannot be read ({error}).") from error
    if not rows:
        raise BadFile(f"{path} has no rows; expected the columns {EXPECTED}.")
    return columns, rows


def _declared(file: Any) -> int:
    """Bytes of all row groups, unpacked, as the file says.

    Not of the columns that are read: pyarrow (26) ends the process where it looks at a damaged column's metadata.
    """
    return sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))


def _too_big(path: Path) -> BadFile:
    return BadFile(
        f"{path} unpacks to more than {MAX_BYTES >> 30} GB. Save its texts and labels alone, or a part of them."
    )
