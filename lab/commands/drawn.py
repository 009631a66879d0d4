"""What a figure is drawn from: rows of records, the user's own before the gallery's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.commands.terminal import complain, name_damaged
from lab.deferred import pandas as pd
from lab.runs import Damaged, Manifest, StoreError, everything, newest_first, table_with
from lab.runs.places import user_store
from lab.runs.store import Records
from lab.study.alike import drawn_together, told_apart
from lab.study.catalogue import outline_of
from lab.study.makers import recorded_makers

if TYPE_CHECKING:
    from lab.figures import Figure

_FEW = 3
"""So many records that are left out are named."""


def drawn_table(
    chosen: Figure, *, store: Path | None, experiment: str | None, where: Sequence[str] | None, only: bool = True
) -> pd.DataFrame:
    """The rows of the user's records, where any of them has the figure's table; else those of the gallery.

    Args:
        chosen: the figure.
        store: the user's; None: as everywhere.
        experiment: whose runs, if several would do.
        where: conditions COLUMN=VALUE that all rows meet.
        only: the table must have the column of every condition; else those that it has not do not concern it.

    Raises:
        StoreError: nothing fits, or several experiments do, none of which draws the figure itself.
        ValueError: a condition that no row meets, or no experiment of that name.
    """
    if experiment is not None:
        experiment = experiment_in(everything(store), experiment)
    damaged: Damaged = {}
    wanted: dict[str, Any] = {"name": chosen.table, "also": chosen.also, "damaged": damaged}
    runs: Records = user_store(store)
    try:
        maker, table = table_with(
            runs, tuple(chosen.columns), experiment=experiment or maker_of(chosen, runs), **wanted
        )
    except StoreError:
        runs = everything(store)
        maker, table = table_with(
            runs, tuple(chosen.columns), experiment=experiment or maker_of(chosen, runs), **wanted
        )
    name_damaged(damaged)
    for condition in where or ():
        if only or condition.partition("=")[0] in table.columns:
            table = rows_where(table, condition)
    newest = newest_first(runs.manifests(maker, damaged={}))
    return without_outdated(chosen, of_one_setting(table, maker, newest), newest)


def maker_of(chosen: Figure, runs: Records) -> str | None:
    """Of the experiments that draw a figure themselves the first with records of it; others are named.

    None where none has any: then any table with the figure's columns will do.
    """
    found = recorded_makers(chosen.name, chosen.table, runs)
    if len(found) > 1:
        complain(f"drawn are the runs of {found[0]}; --experiment draws those of {' or '.join(found[1:])}")
    return found[0] if found else None


def rows_where(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The rows whose column, as text, equals a value.

    Raises:
        ValueError: no such column, no ``=``, or no such row; what there is is listed.
    """
    column, equals, value = condition.partition("=")
    if not equals or column not in table.columns:
        raise ValueError(f"--where is {condition!r}; expected COLUMN=VALUE with one of: {', '.join(table.columns)}")
    rows = table[table[column].astype(str) == value]
    if rows.empty:
        raise ValueError(f"no row has {condition}; {column} is one of: {', '.join(map(str, table[column].unique()))}")
    return rows


def experiment_in(runs: Records, name: str) -> str:
    """The experiment that a word names: one with records here, or one there is; ``-`` and ``_`` are the same.

    Raises:
        ValueError: there is none.
    """
    return name if name in runs.experiments() else outline_of(name).name


def of_one_setting(table: pd.DataFrame, experiment: str, newest: Sequence[Manifest]) -> pd.DataFrame:
    """The rows of the newest records that may be drawn together, with a word on the others."""
    replicates = outline_of(experiment).replicates
    keys = set(table["key"])
    groups = drawn_together([manifest for manifest in newest if manifest.key in keys], replicates)
    if len(groups) < 2:
        return table
    drawn, *others = told_apart(groups, replicates)
    complain(f"drawn is the newest of {len(groups)} settings: {drawn}; --where draws another: {'; '.join(others)}")
    return table[table["key"].isin({manifest.key for manifest in groups[0]})]


def without_outdated(chosen: Figure, table: pd.DataFrame, newest: Sequence[Manifest]) -> pd.DataFrame:
    """The rows without those of records that a newer one says something else of, with a word on them."""
    left_out = chosen.outdated(table, [manifest.key for manifest in newest])
    if left_out:
        named = ", ".join(key[:12] for key in left_out[:_FEW])
        more = f" and {len(left_out) - _FEW} more" if len(left_out) > _FEW else ""
        complain(
            "left out, as newer records of another setting have other numbers for the same: "
            f"{named}{more}; --where draws one of them"
        )
    return table[~table["key"].isin(left_out)]
