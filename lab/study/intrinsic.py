"""What surrounds the autoencoder of `lab.study.autoencoder`: the seen tasks' losses, and the deltas that decode z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lab.deltas import Delta, LinearProbe
from lab.deltas.additive import Additive
from lab.deltas.method import head_names
from lab.models import PLM, settled
from lab.study.amounts import training_steps
from lab.study.autoencoder import Decoder, Standardised, TaskLoss
from lab.study.collected import Collected, Trained, collection_of
from lab.study.settings import setting
from lab.training.evaluation import batch_loss


@dataclass(frozen=True, kw_only=True)
class Intrinsic(Collected):
    """A collection of one start, split into seen and unseen tasks."""

    own_starts: bool = setting("whether starts differ: φ are compared as they are, so they do not", False, keyed=True)
    unseen: tuple[str, ...] = setting("tasks that no decoder has seen", role="task")
    scored: tuple[str, ...] = setting("tasks on which coordinates are trained, seen ones and unseen ones", role="task")
    hidden: int = setting("width of the decoder's hidden layer; 768 in the paper", 128, low=1)
    whole_steps: int = training_steps("AdamW steps on the whole objective, one seen task each")
    warm_up: int = setting("steps of reconstruction before, without the PLM", 500, unit="step", low=0)
    alpha: float = setting("weight of the reconstruction, in units of the members' spread", 1.0, low=0)
    few_steps: int = training_steps("AdamW steps of the coordinates and a head")
    lrs: tuple[float, ...] = setting("step sizes of the coordinates, in spreads, chosen on validation data", (0.1, 0.5))
    joint_with: dict[str, Any] | None = setting("a second method: one z for both, with a decoder each", None)
    joint_lr: float = setting("step size of the second method's runs", 5e-3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if strange := sorted({*self.unseen, *self.scored} - set(self.tasks)):
            raise ValueError(f"unseen and scored tasks are of the collection; {', '.join(strange)}: not among --tasks.")
        if len(self.seen) < 3:
            raise ValueError(f"a decoder needs three seen tasks or more; {len(self.seen)} are left beside --unseen.")

    @property
    def methods(self) -> list[Collected]:
        """The collection of each method."""
        own = self.to(Collected)
        return [own] if self.joint_with is None else [own, replace(own, method=self.joint_with, lr=self.joint_lr)]

    @property
    def seen(self) -> list[str]:
        return [task for task in self.tasks if task not in self.unseen]


def standardised(methods: Sequence[Collected], seen: Sequence[Sequence[Trained]]) -> Standardised:
    """The seen tasks' φ − φ₀ of each method, whatever it changes.

    Args:
        methods: the collections' settings, of one start each.
        seen: the runs of each, tasks in one order.
    """
    displacements = []
    for c, runs in zip(methods, seen, strict=True):
        points = collection_of(c, runs, coordinates=True).vectors()
        displacements.append((points @ torch.eye(len(runs), dtype=points.dtype)).T.float())
    return Standardised.of(displacements)


def seen_task_loss(methods: Sequence[Collected], seen: Sequence[Sequence[Trained]], data: Standardised) -> TaskLoss:
    """CE_i(dec(enc(φ_i))), summed over the methods: each on its PLM, under the head that the task's own run trained."""
    prepared = [[run.run.prepared() for run in runs] for runs in seen]
    forms = [[delta.unmerged.training() for delta, _ in each] for each in prepared]

    def loss(i: int, row: Tensor, step: int) -> Tensor:
        total = row.new_zeros(())
        for m, c in enumerate(methods):
            (delta, encoded), own, form = prepared[m][i], seen[m][i], forms[m][i]
            moved = data.displacement(row, m)
            phi = torch.cat([delta.phi0[: len(moved)] + moved.to(delta.phi0), own.phi[len(moved) :].to(delta.phi0)])
            batch = encoded.train.training_batch(step, c.batch_size, own.run.seed)
            total = total + batch_loss(form, encoded, phi, batch, form.noise(step), "float32").to(row)
        return total

    return loss


def decoded(c: Collected, plm: PLM, decoder: Decoder, data: Standardised, method: int = 0) -> Delta:
    """(z, head) ↦ φ₀ + the decoded displacement, and a head of its own; z = 0 at the start.

    Args:
        c: the method's setting.
        plm: with the task's head.
        decoder, data: of the seen tasks.
        method: which of the decoder's methods c is.
    """
    body = c.how.body(plm, c.seeds[0])
    start = body.phi0
    z0 = torch.zeros(decoder.k, dtype=start.dtype, device=start.device)
    whole = body.reparameterize(lambda z: start + data.displacement(decoder.decode(z), method).to(start), z0)
    return whole + Additive(plm, head_names(plm))


def settled_at(c: Collected, plm: PLM, decoder: Decoder, data: Standardised, method: int, z: Tensor) -> Delta:
    """A head on the PLM that a given z makes: what coordinates found with another method are worth in this one."""
    body = c.how.body(plm, c.seeds[0])
    with torch.no_grad():
        phi = body.phi0 + data.displacement(decoder.decode(z), method).to(body.phi0)
        return LinearProbe().on(settled(body.plm, body.overrides(phi)))
