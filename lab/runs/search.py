"""Finding the table that holds what a figure needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lab.deferred import pandas as pd
from lab.runs.errors import Damaged, StoreError
from lab.runs.store import Records


def table_with(
    runs: Records,
    columns: Collection[str],
    *,
    name: str,
    also: Sequence[str] = (),
    experiment: str | None = None,
    damaged: Damaged | None = None,
) -> tuple[str, pd.DataFrame]:
    """The table of one experiment that has certain columns.

    Args:
        runs: where to look.
        columns: what the table must have, its own or joined ones.
        name: of the table that is preferred; others are looked at if no experiment has it.
        also: tables whose rows come with those of the preferred one, where a record has them.
        experiment: the only one to look at; by default there must be one that fits.
        damaged: takes what is wrong with records that cannot be read, by key, while the others are.

    Returns:
        The name of the experiment, and the table.

    Raises:
        StoreError: no experiment fits, or several do.
        DamagedRecord: a file is missing, truncated or altered, without `damaged`.
    """
    candidates = [experiment] if experiment is not None else runs.experiments()
    tables = {
        one: sorted({table for m in runs.manifests(one, damaged=damaged) for table in m.tables}) for one in candidates
    }
    chosen: dict[str, pd.DataFrame] = {}
    for preferred in (True, False):  # most tables are not even read
        for candidate in candidates:
            for table in tables[candidate]:
                if (table == name) is preferred and candidate not in chosen:
                    found = runs.table(candidate, table, also=also if table == name else (), damaged=damaged)
                    if set(columns) <= set(found.columns):
                        chosen[candidate] = found
        if chosen:
            break
    if len(chosen) == 1:
        return next(iter(chosen.items()))
    where = f"the runs of {experiment}" if experiment is not None else f"{runs}"
    if not chosen:
        raise StoreError(f"no table in {where} has the columns {', '.join(columns)}; run an experiment that makes it")
    raise StoreError(f"several experiments have the columns {', '.join(columns)}: {', '.join(chosen)}; choose one")
