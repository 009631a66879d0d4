"""Loss and score of a φ: on a batch for its gradient, on a split for the history; and the memory it took."""

from __future__ import annotations

import contextlib
import resource
import sys

import torch
from torch import Tensor

from lab.deltas import Delta, TrainingForm
from lab.tasks import EncodedTask
from lab.training.settings import Precision


def batch_loss(
    form: TrainingForm,
    encoded: EncodedTask,
    phi: Tensor,
    batch: dict[str, Tensor],
    noise: Tensor,
    precision: Precision,
    overrides: dict[str, Tensor] | None = None,
) -> Tensor:
    """Mean loss [nats] of φ on one batch, plus the form's penalty; the logits return to φ's dtype before the loss.

    `noise` is what the form takes per step (`TrainingForm.noise`); empty for most. `overrides`: those that the form's
    `streamed` has begun a step with.
    """
    with autocast(precision, phi.device):
        if form.streamed is not None and overrides is not None:
            logits = form.streamed.plm.logits(overrides, batch)
        else:
            logits = form.plm.logits(form.sampled(phi, noise), batch)
    return encoded.task.loss(logits.to(phi.dtype), batch["labels"]) + form.penalty(phi)


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context the model runs in: nothing for float32, autocast for bfloat16."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def evaluate(
    delta: Delta,
    encoded: EncodedTask,
    phi: Tensor,
    split: str,
    *,
    batch_size: int = 64,
    size: int | None = None,
    precision: Precision = "float32",
) -> tuple[float, float]:
    """Mean loss [nats] and score of φ on a split ("train", "validation", "test"), on at most `size` examples.

    Raises:
        ValueError: the task has no such split.
    """
    examples = {"train": encoded.train, "validation": encoded.validation, "test": encoded.test}.get(split)
    if examples is None:
        raise ValueError(f"{encoded.task.name} has no {split} data; `Task.with_test` sets some apart.")
    logits, labels = [], []
    with torch.no_grad():
        overrides = delta.overrides(phi)
        for batch in examples.batches(batch_size, size=size):
            with autocast(precision, phi.device):
                logits.append(delta.plm.logits(overrides, batch).to(phi.dtype))
            labels.append(batch["labels"])
        stacked_logits, stacked_labels = torch.cat(logits), torch.cat(labels)
        loss = float(encoded.task.loss(stacked_logits, stacked_labels))
    return loss, float(encoded.task.metric(stacked_logits, stacked_labels))


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes so far: of CUDA's allocator, or resident memory of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else kilobytes * 1024
