"""A delta on a PLM as a control problem on one fixed batch of a task: what the control experiments measure on.

Analyses need forward-mode derivatives and second ones, so the PLM runs eager attention here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from inspect import signature
from typing import Any

from torch import Tensor

from lab.control import ControlProblem, layerwise
from lab.deltas import Delta, method_from_json
from lab.models import PLM
from lab.study.config import Config
from lab.study.materials import open_plm, open_task
from lab.tasks import EncodedTask, Task
from lab.tasks.encoding import first_batch


@dataclass(frozen=True, eq=False)
class FixedBatch:
    """A delta on a PLM, a task, and one batch of its training data.

    Attributes:
        plm: without grafts.
        task: cut to size.
        delta: the method on this PLM.
        batch: the batch, a pure function of (sentences, tokens, seed).
        tokens: kept of each text.
    """

    plm: PLM
    task: Task
    delta: Delta
    batch: dict[str, Tensor]
    tokens: int

    @cached_property
    def encoded(self) -> EncodedTask:
        """The whole task, tokenised when it is asked for: to train on."""
        return self.task.encode(self.plm, max_length=self.tokens)

    @property
    def problem(self) -> ControlProblem:
        """The delta's control problem on the batch, with the task's loss as terminal cost."""
        return layerwise(self.delta, self.batch, self.task.loss)

    def loss(self, phi: Tensor) -> Tensor:
        """J(φ) by the PLM's own forward pass, without the control problem."""
        return self.task.loss(self.delta.logits(phi, self.batch), self.batch["labels"])


def fixed_batch(
    *,
    model: str,
    task: str,
    method: dict[str, Any],
    seed: int,
    sentences: int,
    tokens: int,
    n_train: int | None = None,
    n_validation: int | None = None,
    weights: str = "pretrained",
    precision: str = "float32",
) -> FixedBatch:
    """What a control experiment measures on.

    Args:
        model: name for `load_plm`.
        task: name for `load_task`.
        method: `DeltaMethod.to_json()`.
        seed: of the head, the method and the choice of the batch.
        sentences: in the batch.
        tokens: kept of each sentence.
        n_train: examples of the task to keep.
        n_validation: likewise.
        weights: "pretrained" or "random".
        precision: "float32" or "float64".
    """
    chosen = open_task(task, n_train, n_validation)
    plm = open_plm(model, chosen.num_labels, seed=seed, weights=weights, attention="eager", precision=precision)
    delta = method_from_json(method).on(plm, seed=seed)
    return FixedBatch(plm, chosen, delta, first_batch(chosen.train, plm, tokens, sentences, seed), tokens)


def fixed_batch_of(c: Config, **own: Any) -> FixedBatch:
    """`fixed_batch` of the settings that a config has.

    Args:
        c: its fields are given by name, those that `fixed_batch` takes.
        own: instead of the config's, or beside them.
    """
    taken = signature(fixed_batch).parameters
    return fixed_batch(**({e.name: getattr(c, e.name) for e in fields(c) if e.name in taken} | own))
