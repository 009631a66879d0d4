"""A torch-free experiment of many quick jobs, and a program that runs it: `python quick_jobs.py STORE COUNT LOG`.

LOG gets one line per measurement that was begun, so that a test can see what was computed twice. The jobs are run once
in a forked child (which costs no imports) for each line on stdin; the child's pid and then its exit code are printed.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import pandas as pd

from lab.execution import Local
from lab.runs import Job, Record, Store, environment


def jobs(count: int) -> list[Job]:
    return [Job("quick", {"i": i, "seed": i % 3}) for i in range(count)]


def measured(job: Job) -> Record:
    """A pure function of the job."""
    values = np.random.default_rng(job.config["i"]).normal(size=200)
    table = pd.DataFrame({"step": range(20), "loss": np.abs(values[:20])})
    return Record(job, {"mean": float(values.mean()), "tunable": 200}, {"history": table}, {"values": values})


def logged(log: str):
    def measure(job: Job, store: Store) -> Record:
        with open(log, "ab", buffering=0) as file:
            file.write(f"{job.config['i']}\n".encode())
        time.sleep(0.002)
        return measured(job)

    return measure


if __name__ == "__main__":
    store_path, job_count, log_path = sys.argv[1:]
    environment()  # asks git once, before the forks
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            Local(Store(store_path), progress=False).run(jobs(int(job_count)), logged(log_path))
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
