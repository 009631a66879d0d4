"""What the records say of the claims: judged by a process of its own, and kept on disk for these records and this code.

Judging needs torch and some ten seconds; in the explorer's own process both would be every session's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import streamlit as st

from app import shelf
from app.loading import Contents
from lab.runs import Damaged, Manifest, Overlay, Store
from lab.statistics import Interval, Verdict

_HERE = Path(__file__).parent

_TURN = threading.Lock()
"""One session at a time reads what the process has written."""


@dataclass(frozen=True)
class Judged:
    """What was judged.

    Attributes:
        verdicts: corrected for one another.
        damage: a sentence per record that was not judged.
    """

    verdicts: tuple[Verdict, ...]
    damage: tuple[str, ...]


def judged(found: Contents, *, start: bool = True) -> Judged | None:
    """The claims as these records judge them; None while a process is at it, which the first call starts.

    Args:
        found: the records.
        start: False: only what was judged before.

    Raises:
        RuntimeError: the process has ended without an answer.
    """
    identity, memory = _identity_of(found), _memory()
    with _TURN:
        if identity not in memory:
            texts = shelf.taken(identity)
            if texts is None and start:
                texts = _answer(*_process(identity, found.stores))
            if texts is None:
                return None
            memory[identity] = _read(texts)
            if not memory[identity].damage:  # what is damaged may be mended, and its record keeps its name
                shelf.put(identity, texts)
    return memory[identity]


def _answer(process: subprocess.Popen[bytes], output: Path) -> dict[str, str] | None:
    """What a process has said; None while it is at work."""
    if process.poll() is None:
        return None
    if process.returncode:
        raise RuntimeError("the claims could not be judged; `deltalab claims` in a terminal says why")
    texts: dict[str, str] = json.loads(output.read_bytes())
    output.unlink()
    return texts


@st.cache_resource(show_spinner=False)
def _memory() -> dict[str, Judged]:
    """What this server has read, by identity."""
    return {}


_AT_WORK: list[subprocess.Popen[bytes]] = []
"""Processes that were at work when the last one began: a cache that is cleared forgets them, and they still end."""


@st.cache_resource(show_spinner=False)
def _process(identity: str, _stores: Sequence[str]) -> tuple[subprocess.Popen[bytes], Path]:
    """The process that judges these records, started once for all sessions; `identity` is what the cache compares."""
    paths = os.pathsep.join([str(_HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    handle, name = tempfile.mkstemp(suffix=".json")
    with os.fdopen(handle, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.judging", *_stores],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
    _AT_WORK[:] = [*(other for other in _AT_WORK if other.poll() is None), process]
    return process, Path(name)


def _identity_of(found: Contents) -> str:
    if ("claims",) not in found.memory:
        found.memory["claims",] = _identity(found.manifests)
    return str(found.memory["claims",])


def _identity(manifests: Sequence[Manifest]) -> str:
    """Of the records, in whatever order, and of the code that judges them."""
    files = sorted((m.key, *sorted(entry["sha256"] for entry in m.files.values())) for m in manifests)
    code = shelf.code(_HERE.parent / "lab", _HERE.parent / "experiments", _HERE)
    return sha256(repr((code, files)).encode()).hexdigest()


def _written(verdicts: Sequence[Verdict], damage: Sequence[str]) -> dict[str, str]:
    def plain(value: Any) -> Any:
        return value.item()  # a number of numpy's

    rows = [asdict(v) | {"measured": _ends(v.measured)} for v in verdicts]
    return {"verdicts": json.dumps(rows, default=plain), "damage": json.dumps(list(damage))}


def _ends(measured: Interval) -> dict[str, Any]:
    return {name: getattr(measured, name) for name in ("estimate", "low", "high", "n")}


def _read(texts: Mapping[str, str]) -> Judged:
    rows: list[dict[str, Any]] = json.loads(texts["verdicts"])
    return Judged(tuple(map(_verdict, rows)), tuple(json.loads(texts["damage"])))


def _verdict(row: Mapping[str, Any]) -> Verdict:
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return Verdict(**given | {"measured": Interval(**given["measured"])})


def main(stores: Sequence[str]) -> None:
    """Judges the records of these stores, and prints the verdicts for `judged`."""
    from lab.study import all_verdicts  # brings torch

    damaged: Damaged = {}
    verdicts = all_verdicts(Overlay(*map(Store, stores)), damaged)
    json.dump(_written(verdicts, [str(error) for error in damaged.values()]), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
