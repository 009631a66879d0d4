"""The explorer's server: CPU seconds of every page, cold and again, and the memory of many sessions.

It is started as `deltalab app` does.

    pages      each page, and each further figure of a question, opened over a websocket as a browser does, by a new
               session, then once more by another; of the gallery's records and of a store with copies of them under
               new seeds, until there are --records
    sessions   so many sessions opened and kept, one page after the other; resident memory of the server

Wall-clock seconds would measure what else the machine does; the server's own CPU seconds do not.

    deltalab bench explorer [--records 3000] [--sessions 50] [--pages home planner] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from _report import write
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from app.question import questions
from lab.figures import figure
from lab.runs import Job, Manifest, Store, key
from lab.runs.manifest import MANIFEST, manifest_text, read_file
from lab.runs.places import GALLERY
from lab.study.catalogue import outline_of

ROOT = Path(__file__).resolve().parents[1]
OTHERS = ("claims", "control_room", "runs", "compare", "record", "new_run", "playgrounds", "open_weights")
QUESTIONS = tuple(outline.name for asked in questions().values() for outline in asked)
BOUND_S, BOUND_MB = 1.0, 1500


def copies(folder: Path, records: int) -> Path:
    """A store of so many records beside the gallery's: the gallery's under seeds of their own."""
    whole = list(Store(GALLERY).manifests())
    seeded = [m for m in whole if "seed" in m.job.config]
    for number, manifest in enumerate(islice(cycle(seeded), max(0, records - len(whole)))):
        copied(manifest, folder, 1000 * (1 + number // len(seeded)))
    return folder


def copied(manifest: Manifest, folder: Path, more: int) -> None:
    job = Job(manifest.job.experiment, {**manifest.job.config, "seed": manifest.job.config["seed"] + more})
    files = {name: read_file(manifest, name, verify=False) for name in manifest.files}
    place = folder / job.experiment / key(job)[:2] / key(job)
    place.mkdir(parents=True)
    for name, data in files.items():
        (place / name).write_bytes(data)
    (place / MANIFEST).write_text(manifest_text(job, files, manifest.provenance))


@contextmanager
def served(store: Path) -> Iterator[tuple[int, int]]:
    """(process, port) of an explorer of a store."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lab", "app", f"--store={store}", f"--port={port}", "--no-browser"]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (store.parent / f"{store.name}.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=surroundings, stdout=log, stderr=log)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        time.sleep(3.0)  # as long as a browser takes to load the page
        yield server.pid, port
    finally:
        server.terminate()
        server.wait(timeout=30)


async def opened(port: int, page: str, query: str = "") -> ClientConnection:
    """A session of its own in which a page has run; it stays open."""
    session = await connect(
        f"ws://127.0.0.1:{port}/_stcore/stream", subprotocols=["streamlit"], max_size=None, ping_interval=None,
        origin=f"http://127.0.0.1:{port}",
    )  # fmt: skip
    asked = BackMsg()
    asked.rerun_script.page_name, asked.rerun_script.query_string = page, query
    await session.send(asked.SerializeToString())
    while True:
        message = ForwardMsg()
        message.ParseFromString(await session.recv())
        if message.WhichOneof("type") == "delta" and message.delta.new_element.HasField("exception"):
            raise RuntimeError(f"{page}: {message.delta.new_element.exception.message}")
        if message.WhichOneof("type") == "script_finished":
            return session


def cpu_seconds(process: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(process: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def pages(store: Path, shown: Iterable[str]) -> list[dict[str, Any]]:
    """One row per page and figure: CPU seconds of its first and second session."""
    rows = []
    with served(store) as (process, port):
        for page, title in [(name, title) for name in shown for title in titles(name)]:
            seconds = []
            for _ in range(2):
                before = cpu_seconds(process)
                session = await opened(port, page, urlencode({"figure": title} if title else {}))
                seconds.append(cpu_seconds(process) - before)
                await session.close()
            told = {"cold_s": round(seconds[0], 2), "again_s": round(seconds[1], 2), "bound_s": BOUND_S}
            rows.append({"page": page or "home", "figure": title, **told})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def titles(page: str) -> tuple[str, ...]:
    """The figures of a page by their titles, "" for the first one, which needs no choice."""
    others = outline_of(page).figures[1:] if page in QUESTIONS else ()
    return ("", *(figure(name).title for name in others))


async def sessions(store: Path, number: int) -> list[dict[str, Any]]:
    """Memory of the server by the number of open sessions."""
    rows: list[dict[str, Any]] = []
    with served(store) as (process, port):
        kept = []
        for count, page in enumerate(islice(cycle(("", *QUESTIONS[:12], "control_room", "claims")), number), 1):
            kept.append(await opened(port, page))
            if count in (1, number // 2, number):
                rows.append({"sessions": count, "resident_mb": megabytes(process), "bound_mb": BOUND_MB})
                print(json.dumps(rows[-1]), flush=True)
        for session in kept:
            await session.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=3000)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--pages", nargs="*", default=["home", *OTHERS, *QUESTIONS])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "none"
        small.mkdir()
        for store in [small, *([copies(Path(folder) / "many", options.records)] if options.records else [])]:
            records = len(Store(store).keys()) + len(Store(GALLERY).keys())
            print(f"{records} records", flush=True)
            shown = ["" if page == "home" else page for page in options.pages]
            rows += [{"records": records, **row} for row in asyncio.run(pages(store, shown))]
        if options.sessions:
            rows += asyncio.run(sessions(small, options.sessions))
    write(options.out, "explorer", {"settings": {"records": options.records, "sessions": options.sessions}}, rows)


if __name__ == "__main__":
    main()
