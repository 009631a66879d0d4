"""Stores: folders of records that many processes may write at once, on any file system with an atomic rename.

``<store>/<experiment>/<key[:2]>/<key>/`` is the folder of a record (`lab.runs.folder`). It is written under
``<store>/.staging/`` and renamed into place, so a record exists iff its folder does, and then it is whole. No record is
ever locked, edited or replaced; a job is locked while somebody works on it (`Store.lease`), so that nobody else does.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from lab.deferred import pandas as pd
from lab.faces import Facts, faced
from lab.runs.errors import Damaged, DamagedRecord, StoreError, StoreFull, UnknownRecord
from lab.runs.folder import read_folder, sync_folder, write_folder
from lab.runs.job import Job, described, key
from lab.runs.lease import leased
from lab.runs.manifest import MANIFEST, Manifest, read_manifest, refuse_links, sha256
from lab.runs.record import METRICS, Record
from lab.runs.staging import lease_file, new_staging, remove_abandoned
from lab.runs.table import tabulate

_KEY_LENGTH = 64
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_Read = TypeVar("_Read")


def _facts(runs: Records) -> Facts:
    return {"place": str(runs), **{name: f"{len(runs.keys(name))} records" for name in runs.experiments()}}


@faced(_facts, plain=False)
class Records(ABC):
    """What can be read: the same for one store and for several laid over each other."""

    @abstractmethod
    def _folders(self, experiment: str | None) -> dict[str, Path]:
        """Folder of every record, by key."""

    @abstractmethod
    def _folder(self, job_or_key: Job | str) -> Path | None:
        """Folder of one record, without listing the others."""

    @abstractmethod
    def experiments(self) -> list[str]:
        """Names of the experiments that have a folder, sorted."""

    @abstractmethod
    def state(self) -> str:
        """64 hex digits that are others once a record was added or removed; faster than `keys`: no record is opened."""

    def has(self, job_or_key: Job | str) -> bool:
        """Whether the record of a job, or with a whole key, exists."""
        return self._folder(job_or_key) is not None

    def get(self, job_or_key: Job | str, *, verify: bool = True) -> Record:
        """The record of a job, or with a whole key.

        Args:
            job_or_key: a job or the 64 hex digits of its key (`find` completes a prefix).
            verify: check the sha256 of every file.

        Raises:
            UnknownRecord: there is none.
            DamagedRecord: a file is missing, truncated or altered.
        """
        return read_folder(self._existing(job_or_key), verify=verify)

    def manifest(self, job_or_key: Job | str) -> Manifest:
        """The head of a record, without its numbers.

        Raises:
            UnknownRecord, DamagedRecord: as in `get`.
        """
        return read_manifest(self._existing(job_or_key))

    def keys(self, experiment: str | None = None) -> list[str]:
        """Keys of all records, or of those of one experiment, sorted."""
        return sorted(self._folders(experiment))

    def manifests(
        self,
        experiment: str | None = None,
        *,
        damaged: Damaged | None = None,
        known: Mapping[Path, Manifest] | None = None,
    ) -> Iterator[Manifest]:
        """Heads of all records, in the order of their keys.

        Args:
            experiment: only its records.
            damaged: takes what is wrong with those that cannot be read, by key, while the others are read.
            known: heads read before, by folder; a record never changes, so they are not read again.

        Raises:
            DamagedRecord: at the first that cannot be read, without `damaged`.
        """
        read = known or {}
        return _those_whole(
            self._folders(experiment), lambda folder: read.get(folder) or read_manifest(folder), damaged
        )

    def records(
        self, experiment: str | None = None, *, verify: bool = True, damaged: Damaged | None = None
    ) -> Iterator[Record]:
        """All records, in the order of their keys, read one at a time.

        Args:
            experiment: only its records.
            verify: check the sha256 of every file.
            damaged: as in `manifests`.

        Raises:
            DamagedRecord: at the first that cannot be read, without `damaged`.
        """
        return _those_whole(self._folders(experiment), partial(read_folder, verify=verify), damaged)

    def table(
        self,
        experiment: str | None = None,
        name: str = METRICS,
        *,
        also: Sequence[str] = (),
        verify: bool = True,
        damaged: Damaged | None = None,
    ) -> pd.DataFrame:
        """One tidy table of all records of an experiment (of the store, if None): see `lab.runs.table.tabulate`.

        Args:
            experiment: only its records.
            name: which table.
            also: tables whose rows come with it.
            verify: check the sha256 of every file.
            damaged: as in `manifests`.

        Raises:
            StoreError: there are records, but none with a table of this name.
            DamagedRecord: a file is missing, truncated or altered, without `damaged`.
        """
        manifests = list(self.manifests(experiment, damaged=damaged))
        return tabulate(manifests, name, also=also, verify=verify, damaged=damaged)

    def find(self, prefix: str) -> str:
        """The one key that begins with `prefix`.

        Raises:
            UnknownRecord: none does, or several do (they are listed).
        """
        fitting = [name for name in self.keys() if name.startswith(prefix)]
        if len(fitting) == 1:
            return fitting[0]
        if not fitting:
            raise UnknownRecord(f"no record in {self} has a key that begins with {prefix!r}")
        shown = ", ".join(name[: max(12, len(prefix) + 2)] for name in fitting[:8])
        raise UnknownRecord(f"{len(fitting)} records in {self} have a key that begins with {prefix!r}: {shown}")

    def _existing(self, job_or_key: Job | str) -> Path:
        folder = self._folder(job_or_key)
        if folder is None:
            raise UnknownRecord(f"no record of {job_or_key} in {self}")
        return folder


class Store(Records):
    """One folder of records.

    Nothing is written before the first `put`: a store may be read-only, or not exist yet (then it is empty).

    Args:
        path: the folder; ``~`` is expanded.

    Raises:
        StoreError: the path is a file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        self._swept = False
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is a file; a store is a folder (choose another with --store)")

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    def __str__(self) -> str:
        return str(self.path)

    def put(self, record: Record) -> bool:
        """Stores a record, whole or not at all.

        A record with the same key that is already there stays as it is: it answers the same job. Of two writers that
        finish at the same time, one wins.

        Returns:
            Whether this call stored it.

        Raises:
            StoreFull: the disk or quota is full.
            StoreError: the store cannot be written.
            ValueError: a table or the provenance cannot be stored.
        """
        target = self._place(record.job.experiment, key(record.job))
        refuse_links(target)
        if (target / MANIFEST).is_file():
            return False
        try:
            if not self._swept:
                remove_abandoned(self.path)
                self._swept = True
            staging = new_staging(self.path)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            write_folder(record, staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            return self._rename(staging, target)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    @contextmanager
    def lease(self, job: Job, waiting: Callable[[], None] | None = None) -> Iterator[bool]:
        """Gives a job to one process at a time; who comes later waits until the first has ended, or was killed.

        A measurement may lease its children: each waits for a part of itself only, so no two wait for each other.

        Args:
            job: what to work on.
            waiting: called once when the other process takes longer than a moment; by default a line on stderr says so.

        Yields:
            Whether there is still no record of the job, now that nobody else works on it.

        Raises:
            StoreError: the store cannot be written, or something else lies where the record belongs.
        """
        with ExitStack() as held:
            try:
                held.enter_context(leased(lease_file(self.path, key(job)), waiting or partial(_say_waiting, job)))
                target = self._place(job.experiment, key(job))
                taken = target.is_dir() and any(target.iterdir())  # asked before the work, and not after it
                file = next((p for p in (target, *target.parents[:2]) if p.exists() and not p.is_dir()), None)
            except OSError as error:
                raise self._unwritable(error) from error
            missing = not self.has(job)
            if file is not None:
                raise StoreError(f"{file} is a file where a folder of records belongs; move it away and run again")
            if missing and taken:
                raise self._no_record(target)
            yield missing

    def _rename(self, staging: Path, target: Path) -> bool:
        try:
            staging.rename(target)
        except OSError as error:
            # Another writer was first; or (NFS) the rename was done, its answer lost, and the retry failed.
            if (target / MANIFEST).is_file():
                return False
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise self._no_record(target) from error
        for folder in (target.parent, target.parent.parent, self.path):
            sync_folder(folder)
        return True

    def _no_record(self, target: Path) -> StoreError:
        return StoreError(f"{target} is no record (it has no {MANIFEST}); delete it and run again")

    def _place(self, experiment: str, name: str) -> Path:
        return self.path / experiment / name[:2] / name

    def _folder(self, job_or_key: Job | str) -> Path | None:
        if isinstance(job_or_key, Job):
            candidates = [self._place(job_or_key.experiment, key(job_or_key))]
        elif _is_key(job_or_key):
            candidates = [self._place(experiment, job_or_key) for experiment in self.experiments()]
        else:
            candidates = []
        return next((folder for folder in candidates if (folder / MANIFEST).is_file()), None)

    def _folders(self, experiment: str | None) -> dict[str, Path]:
        names = self.experiments() if experiment is None else [experiment]
        return {
            os.path.basename(folder): Path(folder)
            for name in names
            for prefix in _folders_in(os.path.join(self.path, name))
            for folder in _folders_in(prefix)
            if _is_key(os.path.basename(folder)) and os.path.isfile(os.path.join(folder, MANIFEST))
        }

    def experiments(self) -> list[str]:
        """Names of the experiments that have a folder, sorted."""
        if not self.path.is_dir():
            return []
        return sorted(entry.name for entry in self.path.iterdir() if entry.is_dir() and not entry.name.startswith("."))

    def state(self) -> str:
        """As promised by `Records.state`: of the path and the names of the folders."""
        names = [
            folder
            for name in self.experiments()
            for prefix in _folders_in(os.path.join(self.path, name))
            for folder in _folders_in(prefix)
        ]
        return sha256("\n".join([str(self.path), *sorted(names)]).encode(errors="surrogateescape"))

    def _unwritable(self, error: OSError) -> StoreError:
        if error.errno in _FULL:
            return StoreFull(
                f"no space left for a record in {self.path} ({error}); nothing half-written was kept: "
                "free some space and run the same command again, finished runs are not repeated"
            )
        return StoreError(f"cannot write to {self.path} ({error}); choose another folder with --store")


class Overlay(Records):
    """Several stores read as one, such as the user's runs and the shipped gallery; the first that has a key answers.

    Args:
        stores: at least one.

    Raises:
        ValueError: no store is given.
    """

    def __init__(self, *stores: Store) -> None:
        if not stores:
            raise ValueError("Overlay got no store; expected at least one")
        self.stores = stores

    def __repr__(self) -> str:
        return f"Overlay({', '.join(map(repr, self.stores))})"

    def __str__(self) -> str:
        return " or ".join(map(str, self.stores))

    def _folder(self, job_or_key: Job | str) -> Path | None:
        found = (store._folder(job_or_key) for store in self.stores)
        return next((folder for folder in found if folder is not None), None)

    def _folders(self, experiment: str | None) -> dict[str, Path]:
        folders: dict[str, Path] = {}
        for store in reversed(self.stores):
            folders |= store._folders(experiment)
        return folders

    def experiments(self) -> list[str]:
        """Names of the experiments that have a folder in any of the stores, sorted."""
        return sorted({name for store in self.stores for name in store.experiments()})

    def state(self) -> str:
        """As promised by `Records.state`: of the stores in their order."""
        return sha256("\n".join(store.state() for store in self.stores).encode())


def _those_whole(
    folders: Mapping[str, Path], read: Callable[[Path], _Read], damaged: Damaged | None
) -> Iterator[_Read]:
    for name, folder in sorted(folders.items()):
        try:
            yield read(folder)
        except DamagedRecord as error:
            if damaged is None:
                raise
            damaged[name] = error


def _folders_in(path: str) -> list[str]:
    """Paths of the folders in a folder; none where it cannot be read or is none. As text: thousands are listed."""
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _say_waiting(job: Job) -> None:
    print(f"another process works on {described(job)}; waiting until it ends ...", file=sys.stderr, flush=True)


def _is_key(text: str) -> bool:
    return len(text) == _KEY_LENGTH and set(text) <= set("0123456789abcdef")
