"""The head of a record, `manifest.json`: the job, the provenance, and sha256 and length of every other file.

It carries a sha256 of itself, too. Whatever it holds otherwise, reading it gives a `Manifest` whose parts have the
types that are promised here, or raises a `DamagedRecord` that names the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lab.faces import Facts, faced
from lab.runs.errors import DamagedRecord
from lab.runs.job import Job, flattened, key
from lab.runs.record import METRICS

FORMAT = 1
MANIFEST = "manifest.json"

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEXTS = ("started", "ended", "device", "command")  # what readers of the provenance take to be text, where it is there


def _facts(manifest: Manifest) -> Facts:
    config = {name: value for name, value in manifest.job.config.items() if not isinstance(value, dict)}
    return {
        "key": manifest.key[:12], "job": ", ".join(f"{name} {value}" for name, value in config.items()) or None,
        "tables": ", ".join(manifest.tables), "ended": manifest.provenance.get("ended"),
    }  # fmt: skip


def newest_first(manifests: Iterable[Manifest]) -> list[Manifest]:
    """By their end; a search ends in the same second as the last of its training runs, and took longer."""
    return sorted(manifests, key=_age, reverse=True)


def _age(manifest: Manifest) -> tuple[str, float]:
    return str(manifest.provenance.get("ended", "")), float(manifest.provenance.get("seconds") or 0.0)


@faced(_facts, lambda manifest: f"Manifest of {manifest.job.experiment}")
@dataclass(frozen=True)
class Manifest:
    """The head of a record: everything but its numbers. `files` maps a file name to its ``sha256`` and ``bytes``."""

    folder: Path
    job: Job
    files: Mapping[str, Mapping[str, Any]]
    provenance: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        return key(self.job)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The job's config on one level (`flattened`)."""
        return flattened(self.job.config)

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables, `metrics` first."""
        names = sorted(Path(file).stem for file in self.files if file.endswith(".parquet"))
        return tuple(sorted(names, key=lambda name: (name != METRICS, name)))


def manifest_text(job: Job, files: Mapping[str, bytes], provenance: Mapping[str, Any]) -> str:
    """The manifest of a record.

    Args:
        job: what was asked.
        files: the content of every other file of its folder.
        provenance: under which circumstances it was measured.

    Raises:
        ValueError: a provenance that JSON cannot hold.
    """
    body = {
        "format": FORMAT,
        "experiment": job.experiment,
        "config": job.config,
        "files": {name: {"sha256": sha256(data), "bytes": len(data)} for name, data in files.items()},
        "provenance": dict(provenance),
    }
    try:
        return json.dumps({**body, "sha256": _body_sha256(body)}, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the provenance is no JSON ({error}); use str, bool, int, finite float, list, dict"
        ) from error


def read_manifest(folder: Path) -> Manifest:
    """The verified head of the record in `folder`.

    Raises:
        DamagedRecord: the manifest is missing, unreadable, altered, of another format, or belongs to another key; an
            entry is missing or of another type; the folder is a link, or lies behind one in its store.
    """
    path = folder / MANIFEST
    refuse_links(folder)
    try:
        body = json.loads(path.read_bytes())
        whole = isinstance(body, dict) and body.pop("sha256", None) == _body_sha256(body)
    except (OSError, ValueError, RecursionError) as error:  # UnicodeDecodeError, JSONDecodeError are ValueErrors
        raise DamagedRecord(f"{path} cannot be read ({error}); {remedy(folder)}") from error
    if not whole:
        raise DamagedRecord(f"{path} was altered after it was written: its sha256 does not fit; {remedy(folder)}")
    if body.get("format") != FORMAT:
        raise DamagedRecord(
            f"{path} has format {body.get('format')!r}, this version reads {FORMAT}; install the deltalab that wrote it"
        )
    try:
        job = Job(body.get("experiment"), body.get("config"))
    except (TypeError, ValueError, RecursionError) as error:
        raise DamagedRecord(f"{path} holds no job ({error}); {remedy(folder)}") from error
    wrong = _wrong_files(body.get("files")) or _wrong_provenance(body.get("provenance"))
    if wrong:
        raise DamagedRecord(f"{path}: {wrong}; {remedy(folder)}")
    manifest = Manifest(folder, job, body["files"], body["provenance"])
    if manifest.key != folder.name:
        raise DamagedRecord(f"{path} holds the job with key {manifest.key}, not {folder.name}: was the folder renamed?")
    return manifest


def read_file(manifest: Manifest, name: str, *, verify: bool = True) -> bytes:
    """The bytes of one file of a record, checked against the manifest.

    Raises:
        DamagedRecord: the file is missing, truncated or altered.
    """
    path, expected = manifest.folder / name, manifest.files[name]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedRecord(f"{path} cannot be read ({error}); {remedy(manifest.folder)}") from error
    if len(data) != expected["bytes"]:
        raise DamagedRecord(
            f"{path} has {len(data)} bytes, its manifest says {expected['bytes']}; {remedy(manifest.folder)}"
        )
    if verify and sha256(data) != expected["sha256"]:
        raise DamagedRecord(
            f"{path} was altered after it was written: its sha256 does not fit; {remedy(manifest.folder)}"
        )
    return data


def refuse_links(folder: Path) -> None:
    """Looks at the folder of a record and the two above it, which are the store's own.

    Raises:
        DamagedRecord: one of them is a symbolic link.
    """
    for part in (folder, folder.parent, folder.parent.parent):
        if part.is_symlink():
            raise DamagedRecord(
                f"{part} is a symbolic link, which a store does not follow; put the folder in its place"
            )


def remedy(folder: Path) -> str:
    """What to do about a damaged record."""
    return f"delete the folder {folder} and run the job again, or restore it from a copy"


def sha256(data: bytes) -> str:
    """As 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def _body_sha256(body: Mapping[str, Any]) -> str:
    return sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _wrong_files(files: object) -> str:
    """What is wrong with the entry `files`, in words; "" if nothing is."""
    if not isinstance(files, dict) or f"{METRICS}.parquet" not in files:
        return f"'files' is {_shown(files)}; expected an entry for each file, {METRICS}.parquet among them"
    for name, entry in files.items():
        if not _FILE_NAME.fullmatch(name):
            return f"'files' names {name!r}; expected the name of a file in this folder"
        told, length = (entry.get("sha256"), entry.get("bytes")) if isinstance(entry, dict) else (None, None)
        if not isinstance(told, str) or not _SHA256.fullmatch(told) or type(length) is not int or length < 0:
            return f"'files' says of {name} {_shown(entry)}; expected its sha256 and its bytes"
    return ""


def _wrong_provenance(provenance: object) -> str:
    """What is wrong with the entry `provenance`, in words; "" if nothing is."""
    if not isinstance(provenance, dict):
        return f"'provenance' is {_shown(provenance)}; expected a mapping"
    seconds = provenance.get("seconds")
    if seconds is not None and (type(seconds) not in (int, float) or not math.isfinite(seconds)):
        return f"'seconds' of the provenance is {_shown(seconds)}; expected a number"
    for name in _TEXTS:
        if not isinstance(provenance.get(name), str | None):
            return f"{name!r} of the provenance is {_shown(provenance[name])}; expected a text"
    return ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
