"""The records that rows are from, each with the command that makes it again."""

from __future__ import annotations

from collections.abc import Callable

from lab.deferred import pandas as pd
from lab.paper.piece import Origin
from lab.runs import Overlay, StoreError, UnknownRecord
from lab.study.again import again


def origins(table: pd.DataFrame, runs: Overlay, complain: Callable[[str], None] | None = None) -> list[Origin]:
    """One origin per record of a table's column ``key``; none where it has no such column.

    Args:
        table: rows of records.
        runs: where the records are.
        complain: called with a sentence for each record that is not there.
    """
    found = []
    for key in dict.fromkeys(table["key"].dropna()) if "key" in table else ():
        try:
            manifest = runs.manifest(key)
        except (StoreError, UnknownRecord) as error:
            if complain is not None:
                complain(str(error))
            continue
        command = again(manifest.job.experiment, manifest.job.config)
        found.append(Origin(manifest.key, command, manifest.provenance))
    return found
