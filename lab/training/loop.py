"""The training loop, the same for one φ and for many: gradients, clip, step, evaluate, checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lab.deltas import Delta, TrainingForm
from lab.tasks import EncodedTask
from lab.training.checkpoint import load_checkpoint, save_checkpoint
from lab.training.evaluation import batch_loss, evaluate
from lab.training.identity import differences, identity
from lab.training.settings import Settings
from lab.training.step_size import schedule

Status = Literal["running", "finished", "diverged", "interrupted"]
Progress = Callable[[int, int, float], None]


@dataclass(eq=False)
class Run:
    """The moving state of one φ.

    Attributes:
        leaves: φ, cut where the step size changes (body, head); what the optimiser moves.
        seed: seed of the order of examples.
        lr, head_lr: step sizes of the leaves.
        step, seconds: steps taken, time spent on them.
        kept: φ at the start and after every `keep_every` steps, where asked for.
    """

    leaves: list[Tensor]
    seed: int
    lr: float
    head_lr: float
    status: Status = "running"
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_score: float = -inf
    best_phi: Tensor | None = None
    kept: list[Tensor] = field(default_factory=list)

    @property
    def phi(self) -> Tensor:
        return self.leaves[0] if len(self.leaves) == 1 else torch.cat(self.leaves)

    @property
    def lrs(self) -> list[float]:
        return [self.lr, self.head_lr][: len(self.leaves)]


@dataclass(frozen=True, eq=False)
class Problem:
    """What is minimised and how: the same for every run of the loop."""

    delta: Delta
    encoded: EncodedTask
    settings: Settings

    def __post_init__(self) -> None:
        _ = self.form  # built now: its host cannot be made inside a vmap

    @cached_property
    def form(self) -> TrainingForm:
        """What the steps run: the change kept beside the layers where the delta allows it."""
        return self.delta.unmerged.training()

    def batch(self, run: Run, step: int) -> dict[str, Tensor]:
        return self.encoded.train.training_batch(step, self.settings.batch_size, run.seed)

    def noise(self, run: Run, step: int) -> Tensor:
        return self.form.noise((run.seed << 32) + step)

    def loss(
        self,
        phi: Tensor,
        batch: dict[str, Tensor],
        noise: Tensor,
        overrides: dict[str, Tensor] | None = None,
    ) -> Tensor:
        return batch_loss(self.form, self.encoded, phi, batch, noise, self.settings.precision, overrides)


Gradients = Callable[[Problem, list[Run], int], list[float]]


def separate_gradients(problem: Problem, runs: list[Run], step: int) -> list[float]:
    """Leave each run's gradient in its leaves, one backward pass per run; returns the losses."""
    losses = []
    for run in runs:
        batch, noise = problem.batch(run, step), problem.noise(run, step)
        if problem.form.streamed is None:
            loss = problem.loss(run.phi, batch, noise)
            loss.backward()
        else:
            overrides, gradient = problem.form.streamed.begun(run.phi)
            loss = problem.loss(run.phi, batch, noise, overrides)
            loss.backward()
            _hand_out(run, gradient())
        losses.append(loss.item())
    return losses


def _hand_out(run: Run, gradient: Tensor) -> None:
    """Add a gradient in φ to the gradients of its leaves."""
    for leaf, piece in zip(run.leaves, torch.split(gradient, [len(leaf) for leaf in run.leaves]), strict=True):
        leaf.grad = piece.contiguous() if leaf.grad is None else leaf.grad + piece


def vmapped_gradients(problem: Problem, runs: list[Run], step: int) -> list[float]:
    """The same in one `vmap` over the pairs (φ, batch); batches are padded to a common width."""
    batches = [problem.batch(run, step) for run in runs]
    width = max(batch["input_ids"].shape[1] for batch in batches)
    padded = [problem.encoded.train.padded(batch, width) for batch in batches]
    stacked = {name: torch.stack([batch[name] for batch in padded]) for name in padded[0]}

    def loss(phi: Tensor, batch: dict[str, Tensor], noise: Tensor) -> tuple[Tensor, Tensor]:
        value = problem.loss(phi, batch, noise)
        return value, value

    phis = torch.stack([run.phi.detach() for run in runs])
    noises = torch.stack([problem.noise(run, step) for run in runs])
    gradients, losses = torch.func.vmap(torch.func.grad(loss, has_aux=True))(phis, stacked, noises)
    for run, gradient in zip(runs, gradients, strict=True):
        pieces = torch.split(gradient, [len(leaf) for leaf in run.leaves])
        for leaf, piece in zip(run.leaves, pieces, strict=True):
            leaf.grad = piece.contiguous()
    return losses.tolist()


def train(
    problem: Problem,
    runs: list[Run],
    gradients: Gradients,
    *,
    checkpoint: Path | None = None,
    checkpoint_every: int = 50,
    progress: Progress | None = None,
    keep_every: int | None = None,
) -> None:
    """Take all runs to their end, in place. A run whose loss is not finite stops there; the others go on.

    A checkpoint holds one run: with several, `checkpoint` must be None.
    """
    settings = problem.settings
    groups = [{"params": [leaf], "lr": lr} for run in runs for leaf, lr in zip(run.leaves, run.lrs, strict=True)]
    base_lrs = [lr for run in runs for lr in run.lrs]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)
    if keep_every is not None:
        for run in runs:
            run.kept.append(run.phi.detach().clone())
    identified = {} if checkpoint is None else _identity(problem, runs[0])
    if checkpoint is not None and checkpoint.exists():
        _restore(checkpoint, identified, runs[0], optimizer)
    try:
        for step in range(runs[0].step, settings.steps):
            began = time.perf_counter()
            for group, base in zip(optimizer.param_groups, base_lrs, strict=True):
                group["lr"] = base * schedule(step, settings.steps, settings.warmup)
            active = [run for run in runs if run.status == "running"]
            losses = gradients(problem, active, step)
            for run, loss in zip(active, losses, strict=True):
                _clip_or_stop(run, loss, settings.clip)
            optimizer.step()  # leaves without a gradient stay where they are
            optimizer.zero_grad(set_to_none=True)
            active = [run for run in active if run.status == "running"]
            if not active:
                return
            elapsed = time.perf_counter() - began
            for run in active:
                run.step, run.seconds = step + 1, run.seconds + elapsed
                if settings.evaluates_after(run.step):
                    _evaluate(problem, run)
                if keep_every is not None and (run.step % keep_every == 0 or run.step == settings.steps):
                    run.kept.append(run.phi.detach().clone())
            if progress is not None:
                progress(step + 1, settings.steps, sum(losses) / len(losses))
            if checkpoint is not None and (step + 1) % checkpoint_every == 0:
                _save(checkpoint, identified, runs[0], optimizer)
    except KeyboardInterrupt:
        if checkpoint is None:
            raise
        _save(checkpoint, identified, runs[0], optimizer)
        runs[0].status = "interrupted"
    for run in runs:
        run.status = "finished" if run.status == "running" else run.status


def _clip_or_stop(run: Run, loss: float, clip: float | None) -> None:
    norm = float("nan")
    if isfinite(loss):
        norm = float(torch.nn.utils.clip_grad_norm_(run.leaves, inf if clip is None else clip))
    if not isfinite(norm):
        run.status = "diverged"
        for leaf in run.leaves:
            leaf.grad = None


def _evaluate(problem: Problem, run: Run) -> None:
    settings, phi = problem.settings, run.phi.detach()
    size = settings.evaluation_size or len(problem.encoded.validation)
    for split in settings.splits_after(run.step):
        loss, score = evaluate(problem.delta, problem.encoded, phi, split, size=size, precision=settings.precision)
        row = {"step": run.step, "seconds": run.seconds, "split": split, "loss": loss, "score": score}
        run.history.append(row)
    if score >= run.best_score:
        run.best_score, run.best_phi = score, phi.clone()


def _identity(problem: Problem, run: Run) -> dict[str, Any]:
    return identity(
        problem.delta, problem.encoded, problem.settings,
        start=run.phi, lr=run.lr, head_lr=run.head_lr, seed=run.seed,
    )  # fmt: skip


def _save(path: Path, identified: dict[str, Any], run: Run, optimizer: torch.optim.Optimizer) -> None:
    tensors = {f"phi.{i}": leaf.detach() for i, leaf in enumerate(run.leaves)}
    for i, leaf in enumerate(run.leaves):
        tensors |= {f"{name}.{i}": value for name, value in optimizer.state[leaf].items()}
    if run.best_phi is not None:
        tensors["best_phi"] = run.best_phi
    facts = {"identity": identified, "step": run.step, "seconds": run.seconds, "history": run.history}
    save_checkpoint(path, tensors, facts | {"best_score": run.best_score if run.history else None})


def _restore(path: Path, identified: dict[str, Any], run: Run, optimizer: torch.optim.Optimizer) -> None:
    tensors, facts = load_checkpoint(path)
    other = differences(facts.get("identity"), identified)
    if other:
        raise ValueError(
            f"{path} belongs to another run: its {', '.join(other)} {'is' if len(other) == 1 else 'are'} not this "
            "one's. Delete it or give another checkpoint path."
        )
    with torch.no_grad():
        for i, leaf in enumerate(run.leaves):
            leaf.copy_(tensors[f"phi.{i}"])
            names = ("step", "exp_avg", "exp_avg_sq")
            optimizer.state[leaf] = {n: tensors[f"{n}.{i}"].to(leaf.device) for n in names if f"{n}.{i}" in tensors}
    run.step, run.seconds, run.history = facts["step"], facts["seconds"], facts["history"]
    if "best_phi" in tensors:
        run.best_phi, run.best_score = tensors["best_phi"].to(leaf.device), facts["best_score"]
