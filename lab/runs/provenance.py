"""Under which circumstances a record was made: versions, commit, machine, seeds, time and memory."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.runs.record import Record

PACKAGES = (
    "deltalab",
    "torch",
    "transformers",
    "peft",
    "numpy",
    "scipy",
    "numba",
    "pandas",
    "pyarrow",
    "duckdb",
    "safetensors",
)


def observe(measure: Callable[[], Record]) -> Record:
    """Runs a measurement and adds to its record when, where, with what, how long and in how much memory it ran.

    What the record says itself is kept: an experiment knows the ``device`` it ran on and its ``seeds``.

    Returns:
        The record with these entries of `provenance` filled in: those of `environment`; ``started`` and ``ended``
        (UTC, ISO 8601); ``seconds`` (wall clock); ``peak_memory_bytes``, the largest resident memory of the *process*
        until the end of this run, so an upper bound of what the run itself needed.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    record = measure()
    seconds, ended = time.perf_counter() - clock, datetime.now(UTC)
    found = {
        **environment(),
        "seeds": _seeds(record.job.config),
        "started": started.isoformat(timespec="seconds"),
        "ended": ended.isoformat(timespec="seconds"),
        "seconds": seconds,
        "peak_memory_bytes": _peak_memory(),
    }
    return replace(record, provenance={**found, **record.provenance})


def environment() -> dict[str, Any]:
    """Python, platform, package versions, commit, device, threads and memory of this process.

    ``device`` is the processor's name; an experiment that used an accelerator replaces it. ``threads`` are torch's if
    torch is loaded, else the processors this process may use. No host name, user or path.
    """
    torch = sys.modules.get("torch")  # the schema must not import it
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": _versions(),
        "commit": _commit()[0],
        "dirty": _commit()[1],
        "device": _processor(),
        "processors": _processors(),
        "threads": torch.get_num_threads() if torch is not None else _processors(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


@functools.cache
def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@functools.cache
def _commit() -> tuple[str | None, bool | None]:
    """Commit of the checkout this file is tracked in, and whether it was changed; (None, None) if there is none."""
    here = Path(__file__).resolve()
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None, None
    commit, changes = _git(here.parent, "rev-parse", "HEAD"), _git(here.parent, "status", "--porcelain")
    return (commit or None), (None if changes is None else bool(changes))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kibibytes


def _seeds(config: Mapping[str, Any]) -> list[int]:
    """Every integer that a config calls ``seed`` or lists as ``seeds``, at any depth."""
    found: list[int] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            found += _seeds(value)
        elif name in ("seed", "seeds"):
            found += [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, int)]
    return sorted(set(found))
