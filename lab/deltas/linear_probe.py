"""The linear probe: only the head moves."""

from __future__ import annotations

from dataclasses import dataclass

from lab.deltas.additive import Additive
from lab.deltas.delta import Delta
from lab.deltas.method import DeltaMethod
from lab.models import PLM
from lab.models.heads import ClassificationHead


@dataclass(frozen=True)
class LinearProbe(DeltaMethod):
    """The head alone, on the frozen PLM's features: what a task needs no delta for (Alain & Bengio 2017).

    The row every claim about few dimensions stands beside: where the probe already reaches the line, d90 with a freely
    trained head says nothing about the PLM. Of a checkpoint that brings a head of the task's width, that head moves.
    """

    name = "linear-probe"
    shown = "linear probe"
    family = "specification"
    heads = ("free",)

    def body(self, plm: PLM, seed: int) -> Delta:
        if plm.new_names:
            return Additive(plm, ())  # the head is added where every method's is
        own = classifier_names(plm)
        if not own:
            raise ValueError(f"{plm.name!r} has no head to probe with; load it with num_labels for classification.")
        return Additive(plm, own)


def classifier_names(plm: PLM) -> tuple[str, ...]:
    """Names of the parameters of a classification head, new or not; () where the head is the language model's."""
    if not isinstance(plm.head, ClassificationHead):
        return ()
    base = plm.architecture.base_path(plm.model)
    return tuple(name for name in plm.layout.names if base and not name.startswith(base))
