"""How long steps and forward passes take, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

from lab.deltas import Delta
from lab.training.cost import TrainingStep


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call [s]; a GPU is waited for."""
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def in_turn(steps: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Label -> seconds of each round [s] (rounds,), all steps in turn, after one round to warm up.

    A slow moment of the machine meets all steps: their ratios within a round are fair, and the fastest of a few rounds
    is the one that it did not meet.
    """
    seconds: dict[str, list[float]] = {label: [] for label in steps}
    for _ in range(rounds + 1):
        for label, step in steps.items():
            seconds[label].append(seconds_of(step, device))
    return {label: times[1:] for label, times in seconds.items()}


def timeable_step(delta: Delta, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """A whole training step under AdamW with step size 0, so that φ and the PLM stay as they are."""
    step = TrainingStep(delta)
    optimizer = torch.optim.AdamW(step.leaves, lr=0.0, weight_decay=0.0, fused=True)

    def run() -> None:
        step.loss(batch).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run
