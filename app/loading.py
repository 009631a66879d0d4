"""The one place where records are read: the user's store laid over the gallery, cached until a record is added."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from lab.figures import Figure
from lab.runs import Damaged, Manifest, Overlay, everything, newest_first, tabulate


@dataclass(frozen=True)
class Contents:
    """What the stores hold.

    Attributes:
        manifests: heads of the readable records, the last that ended first (a search before its training runs).
        mine: keys that are in the user's own store, not only in the gallery.
        damage: a sentence per record that cannot be read, with what to do about it.
        stores: where was looked, for people.
    """

    manifests: tuple[Manifest, ...]
    mine: frozenset[str]
    damage: tuple[str, ...]
    stores: tuple[str, ...]

    def having(self, figure: Figure) -> tuple[Manifest, ...]:
        """The records that hold the table of a figure."""
        return tuple(manifest for manifest in self.manifests if figure.table in manifest.tables)

    def of_experiment(self, name: str) -> tuple[Manifest, ...]:
        """The records of one experiment."""
        return tuple(self._by_experiment.get(name, ()))

    @cached_property
    def memory(self) -> dict[tuple[str, ...], Any]:
        """What pages have worked out from these records: name of it -> what was found."""
        return {}

    @cached_property
    def _by_experiment(self) -> dict[str, list[Manifest]]:
        groups: dict[str, list[Manifest]] = {}
        for manifest in self.manifests:
            groups.setdefault(manifest.job.experiment, []).append(manifest)
        return groups

    def of(self, keys: Iterable[str]) -> tuple[Manifest, ...]:
        """The records with these keys."""
        wanted = set(keys)
        return tuple(manifest for manifest in self.manifests if manifest.key in wanted)


def contents() -> Contents:
    """What the stores hold now; read again only when a record was added or removed.

    Raises:
        StoreError: the user's store is a file.
    """
    runs = everything()
    return _contents(runs.state(), runs)


def table_of(
    manifests: Sequence[Manifest], name: str, also: Sequence[str] = ()
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """One table of several records, each row with its job and key; records without it are left out.

    Args:
        manifests: the records.
        name: of the table.
        also: tables whose rows come with it, where a record has them.

    Returns:
        The table (without rows and columns when no record has it; others see it too, so it is not to be changed), and a
        sentence per record that is damaged.
    """
    fitting = [manifest for manifest in manifests if name in manifest.tables]
    return _table(identity(fitting), (name, *also), fitting)


def identity(manifests: Iterable[Manifest]) -> tuple[tuple[str, str], ...]:
    """What caches compare of records: they never change, so folder and key say all."""
    return tuple((str(m.folder), m.key) for m in manifests)


@st.cache_resource(max_entries=4, show_spinner=False)
def _contents(state: str, _runs: Overlay) -> Contents:
    """What is in the stores; shared by all sessions and never changed. `state` is what the cache compares."""
    damaged: Damaged = {}
    known = _known()
    manifests = newest_first(_runs.manifests(damaged=damaged, known=known))
    fresh = {manifest.folder: manifest for manifest in manifests}
    for gone in known.keys() - fresh.keys():
        known.pop(gone, None)
    known.update(fresh)
    mine, places = frozenset(_runs.stores[0].keys()), tuple(str(store.path) for store in _runs.stores)
    return Contents(tuple(manifests), mine, tuple(map(str, damaged.values())), places)


@st.cache_resource(show_spinner=False)
def _known() -> dict[Path, Manifest]:
    """The heads that the last look at the stores found, by folder: of 3,000 records only new ones are read."""
    return {}


@st.cache_resource(max_entries=32, show_spinner="Reading the records …")
def _table(
    identity: tuple[tuple[str, str], ...], names: tuple[str, ...], _manifests: Sequence[Manifest]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table of records with this `identity`, which is what the cache compares.

    It is every session's: it is read, and never written to.
    """
    damaged: Damaged = {}
    name, *also = names
    experiments = dict.fromkeys(manifest.job.experiment for manifest in _manifests)
    groups = [[m for m in _manifests if m.job.experiment == experiment] for experiment in experiments]
    tables = [table for group in groups if not (table := tabulate(group, name, also=also, damaged=damaged)).empty]
    return (pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()), tuple(map(str, damaged.values()))
