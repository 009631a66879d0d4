"""Fits one φ (`fit`) or many φ of one delta at once (`fit_many`) to a task with AdamW."""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lab.deltas import Delta
from lab.tasks import EncodedTask, Task
from lab.training.checkpoint import load_checkpoint, save_checkpoint
from lab.training.step_size import default_step_size, schedule

Status = Literal["finished", "diverged", "interrupted"]
Precision = Literal["float32", "bfloat16"]
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained φ and how it came about.

    Attributes:
        phi: the last φ, shape (d,).
        best_phi: the φ of the best validation score seen (the last one on ties).
        score: validation metric of the last φ; NaN when training diverged before any evaluation.
        best_score: validation metric of `best_phi`. Chosen on the validation data, so optimistic; `score` is not.
        metric: name of the metric.
        history: one row per evaluation: step, seconds, split ("train" or "validation"), loss [nats], score.
        status: "finished", "diverged" or "interrupted".
        message: one sentence saying what happened and what to do about it.
        steps: steps taken.
        seconds: seconds of training, evaluations excluded.
        peak_memory: peak memory in bytes: CUDA's allocator on a GPU, resident memory of the process elsewhere.
        lr: the step size used for the body of φ.
    """

    phi: Tensor
    best_phi: Tensor
    score: float
    best_score: float
    metric: str
    history: list[dict[str, Any]]
    status: Status
    message: str
    steps: int
    seconds: float
    peak_memory: int
    lr: float


@dataclass(frozen=True)
class Settings:
    """How to train; see `fit` for meaning and defaults."""

    steps: int
    batch_size: int = 32
    warmup: float = 0.06
    weight_decay: float = 0.0
    clip: float | None = 1.0
    evaluate_every: int | None = None
    evaluation_size: int | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(f"steps and batch_size must be positive; got {self.steps} and {self.batch_size}.")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a fraction of the steps in [0, 1); got {self.warmup}.")
        if self.evaluate_every is not None and self.evaluate_every < 1:
            raise ValueError(f"evaluate_every must be positive or None; got {self.evaluate_every}.")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f'precision must be "float32" or "bfloat16"; got {self.precision!r}.')

    def evaluates_after(self, step: int) -> bool:
        """Whether to evaluate after `step` steps have been taken; always after the last."""
        return step == self.steps or (self.evaluate_every is not None and step % self.evaluate_every == 0)


@dataclass(eq=False)
class _Run:
    """The moving state of one φ. `leaves` are φ cut where the step size changes (body, head)."""

    leaves: list[Tensor]
    seed: int
    lr: float
    head_lr: float
    history: list[dict[str, Any]] = field(default_factory=list)
    best_score: float = float("-inf")
    best_phi: Tensor | None = None
    running_loss: list[float] = field(default_factory=list)

    @property
    def phi(self) -> Tensor:
        return self.leaves[0] if len(self.leaves) == 1 else torch.cat(self.leaves)

    @property
    def lrs(self) -> list[float]:
        return [self.lr, self.head_lr][: len(self.leaves)]


def fit(
    delta: Delta,
    task: Task | EncodedTask,
    *,
    steps: int,
    lr: float | None = None,
    head_lr: float | None = None,
    batch_size: int = 32,
    seed: int = 0,
    max_length: int = 128,
    warmup: float = 0.06,
    weight_decay: float = 0.0,
    clip: float | None = 1.0,
    evaluate_every: int | None = None,
    evaluation_size: int | None = None,
    precision: Precision = "float32",
    phi0: Tensor | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 50,
    progress: Progress | None = None,
) -> Fit:
    """Minimise the task's mean loss over φ with AdamW.

    The batch of a step is a pure function of (seed, step) and the model runs without dropout, so a run is determined by
    its arguments and a resumed run equals an uninterrupted one bit for bit (same machine, same number of threads).

    Args:
        delta: the map φ ↦ overrides.
        task: a task, or one already encoded for the delta's PLM.
        steps: AdamW steps.
        lr: step size of φ; default `default_step_size(d, D)`.
        head_lr: step size of a freely trained head; default `lr`.
        batch_size: examples per step. Default 32 (Devlin et al. 2019, appendix A.3).
        seed: seed of the order of examples.
        max_length: tokens kept per example when `task` is not encoded yet.
        warmup: fraction of steps with linearly growing step size. Default 0.06 (Liu et al. 2019, table 10).
        weight_decay: decoupled decay of φ towards 0. Default 0: it would pull towards the PLM, not towards zero weights.
        clip: largest norm of the gradient; default 1 (the transformers Trainer's default); None: no clipping.
        evaluate_every: evaluate after so many steps, and always after the last. Default: only after the last.
        evaluation_size: at most so many validation and training examples per evaluation; default: all validation
            examples, and as many training examples.
        precision: "bfloat16" runs matrix products in bf16 by autocast; φ, its update and the loss stay in float32.
        phi0: start instead of `delta.phi0`.
        checkpoint: file to resume from when it exists, written every `checkpoint_every` steps and on Ctrl-C.
        progress: called with (step, steps, loss) after each step.

    Returns:
        The fit. A loss that is not finite ends it with status "diverged"; Ctrl-C with a checkpoint ends it with status
        "interrupted", without one it propagates.

    Raises:
        ValueError: inadmissible settings, or a checkpoint of another run.
    """
    settings = Settings(
        steps, batch_size, warmup, weight_decay, clip, evaluate_every, evaluation_size, precision
    )
    encoded = _encoded(delta, task, max_length)
    start = delta.phi0 if phi0 is None else phi0
    run = _new_run(delta, start, lr, head_lr, seed)
    return _train([run], _separate_gradients, delta, encoded, settings, checkpoint, checkpoint_every, progress)[0]


def fit_many(
    delta: Delta,
    task: Task | EncodedTask,
    *,
    steps: int,
    lrs: Sequence[float | None],
    seeds: Sequence[int],
    phi0s: Sequence[Tensor] | None = None,
    head_lrs: Sequence[float | None] | None = None,
    batch_size: int = 32,
    max_length: int = 128,
    warmup: float = 0.06,
    weight_decay: float = 0.0,
    clip: float | None = 1.0,
    evaluate_every: int | None = None,
    evaluation_size: int | None = None,
    precision: Precision = "float32",
    progress: Progress | None = None,
) -> list[Fit]:
    """Fit K φ of one delta at once: every step is one `vmap` over the K pairs (φ, batch).

    Run k has step size lrs[k], data order seeds[k] and start phi0s[k] (default φ₀), and gives what
    `fit(delta, task, lr=lrs[k], seed=seeds[k], …)` gives, up to rounding. Worth it where one run cannot fill the device.
    The other arguments are those of `fit`.

    Raises:
        ValueError: the sequences differ in length, or settings are inadmissible.
    """
    starts = [delta.phi0] * len(seeds) if phi0s is None else list(phi0s)
    heads = [None] * len(seeds) if head_lrs is None else list(head_lrs)
    if not len(lrs) == len(seeds) == len(starts) == len(heads) or not seeds:
        raise ValueError(
            f"fit_many needs as many lrs as seeds (and phi0s, head_lrs), at least one; got {len(lrs)} lrs, "
            f"{len(seeds)} seeds, {len(starts)} phi0s, {len(heads)} head_lrs."
        )
    settings = Settings(
        steps, batch_size, warmup, weight_decay, clip, evaluate_every, evaluation_size, precision
    )
    encoded = _encoded(delta, task, max_length)
    runs = [
        _new_run(delta, start, lr, head, seed) for start, lr, head, seed in zip(starts, lrs, heads, seeds, strict=True)
    ]
    return _train(runs, _vmapped_gradients, delta, encoded, settings, None, 0, progress)


def _encoded(delta: Delta, task: Task | EncodedTask, max_length: int) -> EncodedTask:
    return task if isinstance(task, EncodedTask) else task.encode(delta.plm, max_length=max_length)


def _new_run(delta: Delta, start: Tensor, lr: float | None, head_lr: float | None, seed: int) -> _Run:
    if start.shape != (delta.size,):
        raise ValueError(f"phi0 must have shape ({delta.size},); got {tuple(start.shape)}.")
    if delta.size == 0:
        raise ValueError("this delta has no trainable coordinate.")
    lr = default_step_size(delta.size, max(delta.plm.size, delta.size)) if lr is None else lr
    head_lr = lr if head_lr is None else head_lr
    if not (lr > 0 and head_lr > 0):
        raise ValueError(f"step sizes must be positive; got lr = {lr}, head_lr = {head_lr}.")
    body = delta.size - delta.head_size if head_lr != lr else delta.size
    leaves = [piece.clone().contiguous() for piece in torch.split(start.detach(), [body, delta.size - body]) if len(piece)]
    if body == 0:
        lr = head_lr
    return _Run([leaf.requires_grad_(True) for leaf in leaves], seed, lr, head_lr)


def _train(
    runs: list[_Run],
    gradients: Callable[..., list[float]],
    delta: Delta,
    encoded: EncodedTask,
    settings: Settings,
    checkpoint: Path | None,
    checkpoint_every: int,
    progress: Progress | None,
) -> list[Fit]:
    """The loop, the same for one run and for many: gradients, clip, step, evaluate, checkpoint."""
    groups = [{"params": [leaf], "lr": lr} for run in runs for leaf, lr in zip(run.leaves, run.lrs, strict=True)]
    base_lrs = [group["lr"] for group in groups]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)
    step, seconds = 0, 0.0
    identity = _identity(runs, delta, encoded, settings)
    if checkpoint is not None and checkpoint.exists():
        step, seconds = _restore(checkpoint, identity, runs[0], optimizer)
    status: Status = "finished"
    try:
        while step < settings.steps:
            began = time.perf_counter()
            for group, base in zip(optimizer.param_groups, base_lrs, strict=True):
                group["lr"] = base * schedule(step, settings.steps, settings.warmup)
            losses = gradients(runs, delta, encoded, settings, step)
            if not all(map(_is_finite, losses)):
                status = "diverged"
                break
            for run, loss in zip(runs, losses, strict=True):
                run.running_loss.append(loss)
                if settings.clip is not None:
                    torch.nn.utils.clip_grad_norm_(run.leaves, settings.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            seconds += time.perf_counter() - began
            if settings.evaluates_after(step):
                for run in runs:
                    _evaluate(run, delta, encoded, settings, step, seconds)
            if progress is not None:
                progress(step, settings.steps, sum(losses) / len(losses))
            if checkpoint is not None and step % checkpoint_every == 0:
                _save(checkpoint, identity, runs[0], optimizer, step, seconds)
    except KeyboardInterrupt:
        if checkpoint is None:
            raise
        _save(checkpoint, identity, runs[0], optimizer, step, seconds)
        status = "interrupted"
    return [_result(run, encoded, status, step, settings.steps, seconds, checkpoint) for run in runs]


def _is_finite(loss: float) -> bool:
    return loss == loss and abs(loss) != float("inf")


def _loss(delta: Delta, encoded: EncodedTask, settings: Settings, phi: Tensor, batch: dict[str, Tensor]) -> Tensor:
    with _autocast(settings, phi.device):
        logits = delta.logits(phi, batch)
    return encoded.task.loss(logits.to(phi.dtype), batch["labels"])


def _autocast(settings: Settings, device: torch.device):
    if settings.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _separate_gradients(runs: list[_Run], delta: Delta, encoded: EncodedTask, settings: Settings, step: int):
    losses = []
    for run in runs:
        batch = encoded.train.training_batch(step, settings.batch_size, run.seed)
        loss = _loss(delta, encoded, settings, run.phi, batch)
        loss.backward()
        losses.append(loss.item())
    return losses


def _vmapped_gradients(runs: list[_Run], delta: Delta, encoded: EncodedTask, settings: Settings, step: int):
    batches = [encoded.train.training_batch(step, settings.batch_size, run.seed) for run in runs]
    width = max(batch["input_ids"].shape[1] for batch in batches)
    padded = [encoded.train.padded(batch, width) for batch in batches]
    stacked = {name: torch.stack([batch[name] for batch in padded]) for name in padded[0]}

    def loss(phi: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        value = _loss(delta, encoded, settings, phi, batch)
        return value, value

    with torch.no_grad():
        phis = torch.stack([run.phi for run in runs])
        grads, losses = torch.func.vmap(torch.func.grad(loss, has_aux=True), randomness="error")(phis, stacked)
    for run, grad in zip(runs, grads, strict=True):
        for leaf, piece in zip(run.leaves, torch.split(grad, [len(leaf) for leaf in run.leaves]), strict=True):
            leaf.grad = piece.contiguous()
    return losses.tolist()


def evaluate(delta: Delta, encoded: EncodedTask, phi: Tensor, split: str, *, batch_size: int = 64,
             size: int | None = None, precision: Precision = "float32") -> tuple[float, float]:
    """Mean loss [nats] and score of φ on a split ("train" or "validation"), on at most `size` examples."""
    settings = Settings(steps=1, precision=precision)
    examples = encoded.train if split == "train" else encoded.validation
    logits, labels = [], []
    with torch.no_grad():
        overrides = delta.overrides(phi)
        for batch in examples.batches(batch_size, size=size):
            with _autocast(settings, phi.device):
                logits.append(delta.plm.logits(overrides, batch).to(phi.dtype))
            labels.append(batch["labels"])
        stacked_logits, stacked_labels = torch.cat(logits), torch.cat(labels)
        loss = float(encoded.task.loss(stacked_logits, stacked_labels))
    return loss, float(encoded.task.metric(stacked_logits, stacked_labels))


def _evaluate(run: _Run, delta: Delta, encoded: EncodedTask, settings: Settings, step: int, seconds: float) -> None:
    phi = run.phi.detach()
    size = settings.evaluation_size or len(encoded.validation)
    for split in ("train", "validation"):
        loss, score = evaluate(delta, encoded, phi, split, size=size, precision=settings.precision)
        run.history.append({"step": step, "seconds": seconds, "split": split, "loss": loss, "score": score})
    if score >= run.best_score:
        run.best_score, run.best_phi = score, phi.clone()


def _result(
    run: _Run, encoded: EncodedTask, status: Status, step: int, steps: int, seconds: float, checkpoint: Path | None
) -> Fit:
    scores = [row["score"] for row in run.history if row["split"] == "validation"]
    phi = run.phi.detach().clone()
    messages = {
        "finished": f"{steps} steps done.",
        "diverged": f"the loss stopped being finite at step {step} of {steps}; lower lr (now {run.lr:.3g}) or clip harder.",
        "interrupted": f"stopped at step {step} of {steps}; run again with checkpoint={checkpoint} to go on from there.",
    }
    return Fit(
        phi=phi,
        best_phi=phi if run.best_phi is None else run.best_phi,
        score=scores[-1] if scores and status == "finished" else float("nan"),
        best_score=run.best_score if scores else float("nan"),
        metric=encoded.task.metric.name,
        history=list(run.history),
        status=status,
        message=messages[status],
        steps=step,
        seconds=seconds,
        peak_memory=peak_memory(phi.device),
        lr=run.lr,
    )


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes so far: of CUDA's allocator, or resident memory of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else kilobytes * 1024


def _identity(runs: list[_Run], delta: Delta, encoded: EncodedTask, settings: Settings) -> str:
    """Fingerprint of what determines a run, so that a checkpoint is never continued by another one."""
    run = runs[0]
    facts = [vars(settings), run.lr, run.head_lr, run.seed, delta.size, delta.plm.name, encoded.task.name]
    start = hashlib.sha256(run.phi.detach().cpu().numpy().tobytes()).hexdigest()
    return hashlib.sha256(json.dumps([facts, start], default=str).encode()).hexdigest()


def _save(path: Path, identity: str, run: _Run, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
    tensors = {}
    for i, leaf in enumerate(run.leaves):
        tensors[f"phi.{i}"] = leaf.detach()
        for name, value in optimizer.state[leaf].items():
            tensors[f"{name}.{i}"] = value
    if run.best_phi is not None:
        tensors["best_phi"] = run.best_phi
    state = {
        "identity": identity,
        "step": step,
        "seconds": seconds,
        "history": run.history,
        "best_score": run.best_score if run.best_phi is not None else None,
    }
    save_checkpoint(path, tensors, state)


def _restore(path: Path, identity: str, run: _Run, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    tensors, state = load_checkpoint(path)
    if state.get("identity") != identity:
        raise ValueError(
            f"{path} belongs to another run (other settings, seed, task, model or start); "
            "delete it or give another checkpoint path."
        )
    with torch.no_grad():
        for i, leaf in enumerate(run.leaves):
            leaf.copy_(tensors[f"phi.{i}"])
            names = ("step", "exp_avg", "exp_avg_sq")
            optimizer.state[leaf] = {n: tensors[f"{n}.{i}"] for n in names if f"{n}.{i}" in tensors}
    run.history = state["history"]
    if "best_phi" in tensors:
        run.best_phi, run.best_score = tensors["best_phi"].to(run.phi.device), state["best_score"]
    return state["step"], state["seconds"]
