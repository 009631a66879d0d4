"""What all benchmarks share: variants timed in turn, results written with the machine that made them."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from lab.runs import environment

Variant = TypeVar("Variant")


def alternately(
    calls: Mapping[Variant, Callable[[], Any]], rounds: int, *, warm_up: int = 1
) -> dict[Variant, list[float]]:
    """Seconds of every call, in turn, so that a slow moment meets them all; warm-up rounds are not counted.

    A call that returns a float has counted its own seconds.
    """
    times: dict[Variant, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + warm_up):
        for name, call in calls.items():
            began = time.perf_counter()
            counted = call()
            if round_ >= warm_up:
                times[name].append(counted if isinstance(counted, float) else time.perf_counter() - began)
    return times


def write(folder: Path, name: str, facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Writes `<folder>/<name>-<machine>-<threads>threads.json`: the facts, the environment, the rows; says where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{platform.machine()}-{torch.get_num_threads()}threads.json"
    path.write_text(json.dumps({**facts, "environment": environment(), "rows": rows}, indent=1) + "\n")
    print(f"wrote {path}")
