"""Parents with children for the engines of several processes; importable there by its path."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from lab.execution import Engine
from lab.runs import Job, Record

CHILD_SECONDS = 0.4


def parent(folder: Path, name: str, children: list[int], kill: bool = False) -> Job:
    return Job("parent", {"folder": str(folder), "name": name, "children": children, "kill": kill})


def measure(job: Job, engine: Engine) -> Record:
    """A parent adds up its children, which take a moment and note when; some die or fail the first time."""
    c = job.config
    if job.experiment == "child":
        began = time.time()
        note(c["folder"], f"child {c['i']}")
        time.sleep(CHILD_SECONDS)
        if c["i"] == 13:
            raise ZeroDivisionError("no 13")
        return Record(job, {"square": c["i"] ** 2, "began": began, "ended": time.time(), "process": os.getpid()})
    times = note(c["folder"], f"parent {c['name']}")
    children = [Job("child", {"folder": c["folder"], "i": i}) for i in c["children"]]
    records = engine.run(children, measure, label=f"children of {c['name']}")
    if c["kill"] and times == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return Record(job, {"sum": sum(int(r.metrics["square"]) for r in records), "process": os.getpid()})


def note(folder: str, name: str) -> int:
    """Count how often something was begun."""
    path = Path(folder) / name
    with path.open("a") as file:
        file.write("x")
    return path.stat().st_size
