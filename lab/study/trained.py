"""A trained delta out of its record, put to work on sentences that a person types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lab.deltas import Delta
from lab.runs import Record
from lab.study.training_run import TRAINING_RUN, TrainingRun

LONGEST = 64
"""Tokens of a sentence: beyond them neither a heat map nor a second on two cores is enough."""


@dataclass(frozen=True, eq=False)
class Sentence:
    """A text as the PLM sees it.

    Attributes:
        tokens: its tokens as people read them, special ones included.
        batch: of this one text, without padding.
    """

    tokens: tuple[str, ...]
    batch: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Trained:
    """A delta at work.

    Attributes:
        run: how it was trained.
        delta: on its PLM, with attention that has weights and derivatives of every kind.
        phi: φ*, (d,).
        labels: names of the classes.
        score: held-out, as reported.
        metric: of the score.
    """

    run: TrainingRun
    delta: Delta
    phi: Tensor
    labels: tuple[str, ...]
    score: float
    metric: str

    @cached_property
    def body(self) -> Tensor:
        """Which coordinates of φ are not of the newly initialised head, (d,) of bool."""
        body = torch.ones(self.delta.size, dtype=torch.bool, device=self.phi.device)
        for name in self.delta.plm.new_names:
            if name in self.delta.layout.slices:
                body[self.delta.layout.slices[name]] = False
        return body

    def at(self, strength: float, *, head: bool = True) -> Tensor:
        """φ₀ + t(φ* − φ₀).

        Args:
            strength: t.
            head: whether the head moves with t too; else it stays as it was trained.
        """
        moved = self.delta.phi0 + strength * (self.phi - self.delta.phi0)
        return moved if head else torch.where(self.body, moved, self.phi)

    def read(self, text: str) -> Sentence:
        """A sentence in the PLM's tokens.

        Raises:
            ValueError: no text, or more than `LONGEST` tokens.
        """
        if not text.strip():
            raise ValueError("Type a sentence.")
        tokenizer = self.delta.plm.tokenizer
        encoded = tokenizer(text, truncation=False, verbose=False)
        ids = encoded["input_ids"]
        if len(ids) > LONGEST:
            raise ValueError(f"The sentence has {len(ids)} tokens; at most {LONGEST} are taken here. Shorten it.")
        wanted = ("input_ids", "attention_mask", "token_type_ids")
        batch = {name: torch.tensor([encoded[name]], device=self.phi.device) for name in wanted if name in encoded}
        return Sentence(tuple(tokenizer.decode([i]).strip() or "␣" for i in ids), batch)


def trained(record: Record) -> Trained:
    """The trained delta that a record of a training run keeps.

    Raises:
        ValueError: the record keeps no φ, or its task is none of single sentences and classes.
        ModuleNotFoundError: the PLM or the task is not installed; the message says what to do.
    """
    found = TRAINING_RUN.finding(record)
    run = found.config
    if "phi" not in found.arrays:
        raise ValueError(f"this run of {run.how.title} keeps no φ; train again with keep_phi.")
    if run.template or run.data.kind != "classification" or run.data.train.pairs is not None:
        raise ValueError(
            f"{run.task} is read through a template, in pairs, or as a number; a task of single sentences and classes "
            "is needed here."
        )
    delta = run.analysed()
    phi = torch.as_tensor(found.arrays["phi"]).to(delta.phi0)
    score = float(found.metrics.get("test_score", found.metrics["score"]))
    return Trained(run, delta, phi, run.data.labels, score, str(found.metrics["metric"]))
