"""What training runs of a delta: the overrides of a step, a penalty, and what is stored at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from lab.models import PLM

if TYPE_CHECKING:
    from lab.deltas.delta import Delta


def no_penalty(phi: Tensor) -> Tensor | float:
    """0, for every φ."""
    return 0.0


@dataclass(frozen=True, eq=False)
class TrainingForm:
    """A delta as a trainer sees it: minimise loss(plm.logits(sampled(φ, noise), batch)) + penalty(φ), then finish.

    Attributes:
        plm: the host whose parameters are overridden.
        sampled: (φ, noise) -> the overrides of one step; smooth in φ. Without noise, `Delta.overrides`.
        penalty: φ -> what training adds to the loss [nats], a scalar; 0 for all but diff pruning (its expected L0).
        finish: φ -> the delta that is stored after training and its own φ; None where all of φ is stored as it is.
        noise: seed -> the random numbers of one step, shape (n_noise,), a pure function of the seed. It is an argument
            of `sampled`, so that many φ can be trained under one `vmap`, each with its own.
        n_noise: 0 for all but diff pruning.
    """

    plm: PLM
    sampled: Callable[[Tensor, Tensor], dict[str, Tensor]]
    noise: Callable[[int], Tensor]
    n_noise: int = 0
    penalty: Callable[[Tensor], Tensor | float] = no_penalty
    finish: Callable[[Tensor], tuple[Delta, Tensor]] | None = None
