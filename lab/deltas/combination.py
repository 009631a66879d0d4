"""Several methods at once, as one method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lab.deltas.additive import Additive
from lab.deltas.delta import Delta, Reparameterized
from lab.deltas.method import DeltaMethod
from lab.models import PLM


@dataclass(frozen=True)
class Combination(DeltaMethod):
    """(φ₁, φ₂, …) ↦ the changes of all parts at once (Ding et al. 2022, simultaneous combination).

    One new head belongs to the whole, not to a part: every part's own `head` is left aside. No part at all is the
    linear probe under a new head, and the untouched PLM (size 0) under a pre-trained one: the empty cell of a factorial
    grid.

    Attributes:
        parts: the methods; of each class at most one, or with labels of their own.
        step_scales: part i is trained through φ_i = c_i·z_i, so that AdamW with step size η moves φ_i as a step size
            c_i·η of its own would; () : all 1. A prompt needs steps many times an adapter's, alone or not.
    """

    parts: tuple[DeltaMethod, ...] = ()
    step_scales: tuple[float, ...] = ()

    name = "combination"
    family = "combination"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_scales and len(self.step_scales) != len(self.parts):
            raise ValueError(
                f"Combination needs as many step_scales as parts, or none; got {len(self.step_scales)} for "
                f"{len(self.parts)} parts."
            )
        if not all(c > 0 for c in self.step_scales):
            raise ValueError(f"Combination's step_scales must be positive; got {self.step_scales}.")

    @property
    def title(self) -> str:
        """The titles of its parts, joined."""
        return " + ".join(part.title for part in self.parts) or super().title

    def body(self, plm: PLM, seed: int) -> Delta:
        whole: Delta = Additive(plm, ())
        for part, c in zip(self.parts, self.step_scales or (1.0,) * len(self.parts), strict=True):
            whole = whole + scaled(part.body(plm, seed), c)
        return whole

    def to_json(self) -> dict[str, Any]:
        parts = [part.to_json() for part in self.parts]
        return {"method": self.name, "head": self.head, "parts": parts, "step_scales": list(self.step_scales)}


def scaled(delta: Delta, c: float) -> Delta:
    """The same delta in the coordinates z = φ/c, part by part of the same names."""
    if c == 1:
        return delta
    return Reparameterized(
        delta,
        _times(c),
        delta.phi0 / c,
        at_identity=delta.at_identity,
        layout=delta.layout,
        stored_size=delta.stored_size if delta.stored_size != delta.size else None,
    )


def _times(c: float) -> Callable[[Tensor], Tensor]:
    return lambda z: c * z
