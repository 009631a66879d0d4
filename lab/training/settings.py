"""How to train: the settings shared by every run of the loop."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

Precision = Literal["float32", "bfloat16"]
TrainEvaluations = Literal["all", "last"]


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
    train_evaluations: TrainEvaluations = "all"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(f"steps and batch_size must be positive; got {self.steps} and {self.batch_size}.")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a fraction of the steps in [0, 1); got {self.warmup}.")
        if not 0 <= self.weight_decay < inf:
            raise ValueError(f"weight_decay must be finite and >= 0; got {self.weight_decay}.")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(
                f"clip is the largest norm of the gradient, > 0, or None; got {self.clip}. A negative one would climb."
            )
        if self.evaluate_every is not None and self.evaluate_every < 1:
            raise ValueError(f"evaluate_every must be positive or None; got {self.evaluate_every}.")
        if self.evaluation_size is not None and self.evaluation_size < 1:
            raise ValueError(f"evaluation_size must be positive or None; got {self.evaluation_size}.")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f'precision must be "float32" or "bfloat16"; got {self.precision!r}.')
        if self.train_evaluations not in ("all", "last"):
            raise ValueError(f'train_evaluations must be "all" or "last"; got {self.train_evaluations!r}.')

    def evaluates_after(self, step: int) -> bool:
        """Whether to evaluate after `step` steps have been taken; always after the last."""
        return step == self.steps or (self.evaluate_every is not None and step % self.evaluate_every == 0)

    def splits_after(self, step: int) -> tuple[str, ...]:
        """The splits that the evaluation after `step` steps scores, validation last."""
        both = self.train_evaluations == "all" or step == self.steps
        return ("train", "validation") if both else ("validation",)
