"""What all benchmarks share: variants timed in turn, results written with the machine that made them."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from scipy import stats

from lab.runs import environment

Variant = TypeVar("Variant")


def alternately(
    calls: Mapping[Variant, Callable[[], Any]], rounds: int, *, warm_up: int = 1
) -> dict[Variant, list[float]]:
    """Seconds of every call, in turn, so that a slow moment meets them all; warm-up rounds are not counted.

    Every other round goes backwards, as a call also pays for the caches and the memory that the one before it left. A
    call that returns a float has counted its own seconds.
    """
    times: dict[Variant, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + warm_up):
        for name, call in list(calls.items())[:: -1 if round_ % 2 else 1]:
            began = time.perf_counter()
            counted = call()
            if round_ >= warm_up:
                times[name].append(counted if isinstance(counted, float) else time.perf_counter() - began)
    return times


def ratio_of(times: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """Median over rounds of times / reference, with the 95 % interval of its order statistics (from 6 rounds on)."""
    ratios = np.array(times) / np.array(reference)
    interval = stats.quantile_test(ratios, q=1.0, p=0.5).confidence_interval()
    return {"ratio": float(np.median(ratios)), "low": float(interval.low), "high": float(interval.high)}


def write(folder: Path, name: str, facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Writes `<folder>/<name>-<machine>-<threads>threads.json`: the facts, the environment, the rows; says where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{platform.machine()}-{torch.get_num_threads()}threads.json"
    path.write_text(json.dumps({**facts, "environment": environment(), "rows": rows}, indent=1) + "\n")
    print(f"wrote {path}")
