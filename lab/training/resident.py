"""Peak memory of real training steps, each method in a process of its own: ``python -m lab.training.resident``.

A process's peak never goes down, and memory it freed may stay with the allocator: a fresh process per method, whose
allocator gives back what it frees, is the only clean measure. Weights are random: memory does not depend on them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from lab.deltas import FullFineTuning, method_from_json
from lab.models import PLM, load_plm, untrained_plm
from lab.models.tiny import built_in
from lab.training.cost import TrainingStep, example_batch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
# glibc: every tensor of 64 kB or more a mapping of its own, returned when freed; torch: no rounding up to huge pages
QUIET_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_TOP_PAD_": "0",
    "THP_MEM_ALLOC_ENABLE": "0",
}
"""What makes a process's allocator give back what it frees."""


def measured_peaks(
    model: str, method: dict[str, Any], batch_sizes: Sequence[int], *, tokens: int, device: str = "cpu"
) -> dict[int, int]:
    """Peak memory of a training step of AdamW, measured in a fresh process.

    Args:
        model: one of `lab.models.MODELS`, with random weights, or "tiny-FAMILY".
        method: `DeltaMethod.to_json()`.
        batch_sizes: texts of the batches.
        tokens: length of the texts.
        device: "cpu" (Linux), or a CUDA device.

    Returns:
        Batch size -> bytes: resident memory above what the process held before the PLM was made (its kernels loaded
        already), or what CUDA's allocator gave out.

    Raises:
        RuntimeError: the process failed; its last words are in the message.
    """
    request = {"model": model, "method": method, "batch_sizes": list(batch_sizes), "tokens": tokens, "device": device}
    done = subprocess.run(
        [sys.executable, "-m", "lab.training.resident"], input=json.dumps(request), capture_output=True, text=True,
        env=os.environ | QUIET_ALLOCATOR | {"PYTHONPATH": os.pathsep.join(sys.path)}, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}: killed for want of memory?"]
        raise RuntimeError(f"measuring {method.get('method')} on {model} failed: {words[0]}")
    return {int(size): peak for size, peak in json.loads(done.stdout.splitlines()[-1]).items()}


def _measure(request: dict[str, Any]) -> dict[int, int]:
    device = request["device"]
    peak, reset = peak_gauges(device)
    _step(TrainingStep(FullFineTuning().on(_plm("tiny-bert", device))), 2, 8)()
    reset()
    before = peak()
    plm = _plm(request["model"], device)
    step = TrainingStep(method_from_json(request["method"]).on(plm))
    found = {}
    for batch_size in request["batch_sizes"]:
        run = _step(step, batch_size, request["tokens"])
        run()  # AdamW's moments exist from the first step on; what came before belongs to the start
        reset()
        run()
        found[batch_size] = peak() - before
    return found


def _step(step: TrainingStep, batch_size: int, tokens: int) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(step.leaves, lr=1e-9, fused=True)
    batch = example_batch(step.plm, batch_size, tokens)

    def run() -> None:
        step.loss(batch).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def _plm(model: str, device: str) -> PLM:
    if built_in(model):
        return load_plm(model, dtype=torch.float32, device=device)
    return untrained_plm(model, device=device)


def peak_gauges(device: str) -> tuple[Callable[[], int], Callable[[], object]]:
    """Functions that read the peak in bytes and that reset it to what is in use."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated, torch.cuda.reset_peak_memory_stats
    return _resident_peak, lambda: _CLEAR.write_text("5")  # "VmHWM" starts again from what is resident (proc(5))


def _resident_peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    if found is None:
        raise RuntimeError(f"{_STATUS} has no VmHWM; resident memory is measured on Linux only.")
    return 1024 * int(found[1])


if __name__ == "__main__":
    print(json.dumps(_measure(json.load(sys.stdin))))
