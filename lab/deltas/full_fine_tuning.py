"""Full fine-tuning: θ ↦ θ + φ."""

from __future__ import annotations

from dataclasses import dataclass

from lab.deltas.additive import Additive
from lab.deltas.delta import Delta
from lab.deltas.method import DeltaMethod, body_names
from lab.models import PLM


@dataclass(frozen=True)
class FullFineTuning(DeltaMethod):
    """Every parameter moves: θ ↦ θ + φ, d = D. The reference all deltas are compared with."""

    name = "full"
    shown = "full fine-tuning"
    family = "full"

    def body(self, plm: PLM, seed: int) -> Delta:
        return Additive(plm, body_names(plm))

    def on(self, plm: PLM, *, seed: int = 0) -> Delta:
        # one Additive over body and head in the PLM's own order: φ is then Δθ itself
        return Additive(plm, plm.layout.names) if self.head == "free" else self.body(plm, seed)
