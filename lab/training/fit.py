"""Fits one φ (`fit`) or many φ of one delta at once (`fit_many`) to a task with AdamW."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab.deltas import Delta, DeltaMethod
from lab.faces import Facts, faced
from lab.tasks import EncodedTask, Task
from lab.training.evaluation import peak_memory
from lab.training.loop import Problem, Progress, Run, Status, separate_gradients, train, vmapped_gradients
from lab.training.notebook import bar
from lab.training.settings import Precision, Settings, TrainEvaluations
from lab.training.step_size import default_step_size


def _facts(fit: Fit) -> Facts:
    return {
        fit.metric: fit.score, f"best {fit.metric}": fit.best_score, "status": fit.message or fit.status,
        "steps": fit.steps, "seconds": fit.seconds, "step size": fit.lr, "d": fit.phi.numel(),
    }  # fmt: skip


@faced(_facts)
@dataclass(frozen=True, eq=False)
class Fit:
    """A trained φ and how it came about.

    Attributes:
        phi: the last φ, shape (d,).
        best_phi: the φ of the best validation score seen (the last one on ties).
        score: validation metric of the last φ; NaN when training diverged before any evaluation.
        best_score: validation metric of `best_phi`; NaN where no evaluation gave a number. Chosen on the validation
            data, so optimistic; `score` is not.
        metric: name of the metric.
        history: one row per evaluation: step, seconds, split ("train" or "validation"), loss [nats], score.
        status: "finished", "diverged" or "interrupted".
        message: one sentence saying what happened and what to do about it.
        steps: steps taken.
        seconds: seconds of training, evaluations excluded.
        peak_memory: peak memory in bytes: CUDA's allocator on a GPU, resident memory of the process elsewhere.
        lr: the step size used for the body of φ.
        trajectory: φ at the start, after every `keep_every` steps and at the end, (n, d); None unless asked for.
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
    trajectory: Tensor | None = None


def fit(
    delta: Delta,
    task: Task | EncodedTask,
    *,
    steps: int | None = None,
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
    train_evaluations: TrainEvaluations = "all",
    precision: Precision = "float32",
    phi0: Tensor | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 50,
    progress: Progress | None = None,
    keep_every: int | None = None,
) -> Fit:
    """Minimise the task's mean loss over φ with AdamW.

    The batch of a step is a pure function of (seed, step) and the model runs without dropout, so a run is determined by
    its arguments and a resumed run equals an uninterrupted one bit for bit (same machine, same number of threads).

    Args:
        delta: the map φ ↦ overrides.
        task: a task, or one already encoded for the delta's PLM.
        steps: AdamW steps; to be given.
        lr: step size of φ; default `default_step_size(d, D)`.
        head_lr: step size of a freely trained head; default `lr`.
        batch_size: examples per step. Default 32 (Devlin et al. 2019, appendix A.3).
        seed: seed of the order of examples.
        max_length: tokens kept per example when `task` is not encoded yet.
        warmup: fraction of steps with linearly growing step size. Default 0.06 (Liu et al. 2019, table 10).
        weight_decay: decoupled decay of φ towards 0. Default 0: it would pull towards the PLM, not to zero weights.
        clip: largest norm of the gradient; default 1 (the transformers Trainer's default); None: no clipping.
        evaluate_every: evaluate after so many steps, and always after the last. Default: only after the last.
        evaluation_size: at most so many validation and training examples per evaluation; default: all validation
            examples, and as many training examples.
        train_evaluations: "last" scores the training examples only at the last evaluation, which halves the cost of
            the others; default "all".
        precision: "bfloat16" runs matrix products in bf16 by autocast; φ, its update and the loss stay in float32.
        phi0: start instead of `delta.phi0`.
        checkpoint: file to resume from when it exists, written every `checkpoint_every` steps and on Ctrl-C.
        progress: called with (step, steps, loss) after each step; by default a bar in Jupyter, and nothing elsewhere.
        keep_every: keep φ after every so many steps, for `Fit.trajectory`; memory d numbers each.

    Returns:
        The fit. A loss that is not finite ends it with status "diverged"; Ctrl-C with a checkpoint ends it with status
        "interrupted", without one it propagates.

    Raises:
        TypeError: a method, or anything else that is no delta; no task; no steps.
        ValueError: inadmissible settings, a checkpoint of another run, or a trajectory of a run that may be resumed.
    """
    if not isinstance(delta, Delta):
        made = f"; write fit({type(delta).__name__}(…).on(plm), task, …)" if isinstance(delta, DeltaMethod) else ""
        raise TypeError(f"fit trains a delta, which a method makes on a PLM; got {type(delta).__name__}{made}.")
    if not isinstance(task, Task | EncodedTask):
        raise TypeError(f"fit trains on a task, which load_task opens; got {type(task).__name__}.")
    if steps is None:
        raise TypeError("fit needs to know how long to train; say so with steps, as in fit(delta, task, steps=200).")
    if keep_every is not None and (keep_every < 1 or checkpoint is not None):
        raise ValueError(
            f"keep_every must be >= 1, and a checkpoint does not hold the trajectory; got keep_every={keep_every}, "
            f"checkpoint={checkpoint}. Leave one of the two out."
        )
    if checkpoint_every < 1:
        raise ValueError(f"checkpoint_every must be a number of steps >= 1; got {checkpoint_every}.")
    settings = Settings(
        steps, batch_size, warmup, weight_decay, clip, evaluate_every, evaluation_size, precision, train_evaluations
    )
    encoded = _encoded(delta, task, max_length)
    start = delta.phi0 if phi0 is None else phi0
    run = _new_run(delta, start, lr, head_lr, seed)
    shown = bar() if progress is None else None
    train(
        Problem(delta, encoded, settings),
        [run],
        separate_gradients,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        progress=progress or shown,
        keep_every=keep_every,
    )
    if shown is not None:
        shown.close()
    return _result(run, encoded, steps, checkpoint)


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
    `fit(delta, task, lr=lrs[k], seed=seeds[k], …)` gives, up to rounding. Worth it where one run cannot fill
    the device.
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
    settings = Settings(steps, batch_size, warmup, weight_decay, clip, evaluate_every, evaluation_size, precision)
    encoded = _encoded(delta, task, max_length)
    runs = [
        _new_run(delta, start, lr, head, seed) for start, lr, head, seed in zip(starts, lrs, heads, seeds, strict=True)
    ]
    train(Problem(delta, encoded, settings), runs, vmapped_gradients, progress=progress)
    return [_result(run, encoded, steps, None) for run in runs]


def _encoded(delta: Delta, task: Task | EncodedTask, max_length: int) -> EncodedTask:
    return task if isinstance(task, EncodedTask) else task.encode(delta.plm, max_length=max_length)


def _new_run(delta: Delta, start: Tensor, lr: float | None, head_lr: float | None, seed: int) -> Run:
    if start.shape != (delta.size,):
        raise ValueError(f"phi0 must have shape ({delta.size},); got {tuple(start.shape)}.")
    if delta.size == 0:
        raise ValueError("this delta has no trainable coordinate.")
    lr = default_step_size(delta.size, max(delta.plm.size, delta.size)) if lr is None else lr
    head_lr = lr if head_lr is None else head_lr
    if not (0 < lr < inf and 0 < head_lr < inf):
        raise ValueError(f"step sizes must be positive and finite; got lr = {lr}, head_lr = {head_lr}.")
    body = delta.size - delta.head_size if head_lr != lr else delta.size
    leaves = [
        piece.clone().contiguous() for piece in torch.split(start.detach(), [body, delta.size - body]) if len(piece)
    ]
    if body == 0:
        lr = head_lr
    return Run([leaf.requires_grad_(True) for leaf in leaves], seed, lr, head_lr)


def _result(run: Run, encoded: EncodedTask, steps: int, checkpoint: Path | None) -> Fit:
    scores = [row["score"] for row in run.history if row["split"] == "validation"]
    phi = run.phi.detach().clone()
    messages = {
        "finished": f"{steps} steps done.",
        "diverged": f"the loss stopped being finite at step {run.step + 1} of {steps}; lower lr (now {run.lr:.3g})."
        if run.step
        else "the loss or its gradient is not finite before the first step, so that no lr helps: look at the PLM's "
        "weights and configuration, and at φ₀.",
        "interrupted": f"stopped after step {run.step} of {steps}; run again with checkpoint={checkpoint} to go on.",
    }
    return Fit(
        phi=phi,
        best_phi=phi if run.best_phi is None else run.best_phi,
        score=scores[-1] if run.status == "finished" else float("nan"),
        best_score=float("nan") if run.best_phi is None else run.best_score,
        metric=encoded.task.metric.name,
        history=list(run.history),
        status=run.status,
        message=messages[run.status],
        steps=run.step,
        seconds=run.seconds,
        peak_memory=peak_memory(phi.device),
        lr=run.lr,
        trajectory=torch.stack(run.kept) if run.kept else None,
    )
