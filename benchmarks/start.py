"""Starting: CPU seconds of what is typed most, of this tree and of an earlier revision of it, in turn.

    help         python -m lab.cli --help
    list         python -m lab.cli list, on the gallery
    experiment   import experiments.intrinsic_dimension

Wall-clock seconds would measure what else the machine does; the processes' own CPU seconds do not.

    deltalab bench start --before REVISION [--rounds 6] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from _report import alternately, ratio_of, write

ROOT = Path(__file__).resolve().parents[1]
CASES = {
    "help": ("-m", "lab.cli", "--help"),
    "list": ("-m", "lab.cli", "list"),
    "experiment": ("-c", "import experiments.intrinsic_dimension"),
}
BOUND_S = {"help": 1.0, "list": 1.0}
BOUND_RATIO = {"experiment": 0.6}


def unpacked(revision: str, folder: Path) -> Path:
    """The files of a revision of this repository."""
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def cpu_seconds(tree: Path, arguments: tuple[str, ...]) -> float:
    """User and system time of Python in a tree, its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    surroundings = {**os.environ, "PYTHONPATH": str(tree), "DELTALAB_STORE": str(tree / "no runs")}
    subprocess.run([sys.executable, *arguments], cwd=tree, env=surroundings, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measured(before: Path, rounds: int) -> list[dict[str, Any]]:
    """One row per case."""
    rows = []
    for name, arguments in CASES.items():
        calls = {tree: partial(cpu_seconds, tree, arguments) for tree in (before, ROOT)}
        times = alternately(calls, rounds)
        row = {"case": name, "before_s": median(times[before]), "after_s": median(times[ROOT])}
        row |= {"bound_s": BOUND_S.get(name), "bound_ratio": BOUND_RATIO.get(name)}
        rows.append({**row, **ratio_of(times[ROOT], times[before])})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="a revision of this repository")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(unpacked(options.before, Path(folder)), options.rounds)
    write(options.out, "start", {"settings": {"before": options.before, "rounds": options.rounds}}, rows)


if __name__ == "__main__":
    main()
