"""The linear probe: only the new head moves."""

from __future__ import annotations

from dataclasses import dataclass

from lab.deltas.additive import Additive
from lab.deltas.delta import Delta
from lab.deltas.method import DeltaMethod
from lab.models import PLM


@dataclass(frozen=True)
class LinearProbe(DeltaMethod):
    """The head alone, on the frozen PLM's features: what a task needs no delta for (Alain & Bengio 2017).

    The row every claim about few dimensions stands beside: where the probe already reaches the line, d90 with a freely
    trained head says nothing about the PLM.
    """

    name = "linear-probe"
    family = "specification"
    heads = ("free",)

    def body(self, plm: PLM, seed: int) -> Delta:
        if not plm.new_names:
            raise ValueError(f"{plm.name!r} has no new head to probe with; load it with num_labels for classification.")
        return Additive(plm, ())
