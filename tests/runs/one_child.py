"""A program whose parent job wants a child that others want too: `python one_child.py STORE LOG NAME SECONDS`.

Who measures the child writes its NAME to LOG, then takes so many SECONDS.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from lab.execution import Engine, Local
from lab.runs import Job, Record, Store

CHILD = Job("child", {"i": 1})


def parent(name: str) -> Job:
    return Job("parent", {"name": name})


if __name__ == "__main__":
    path, log, name, seconds = sys.argv[1:]

    def slow(job: Job, engine: Engine) -> Record:
        with Path(log).open("a") as file:
            file.write(name)
        time.sleep(float(seconds))
        return Record(job, {"by": name})

    def measure(job: Job, engine: Engine) -> Record:
        (child,) = engine.run([CHILD], slow)
        return Record(job, {"child": child.metrics["by"]})

    Local(Store(path), progress=False).run([parent(name)], measure)
