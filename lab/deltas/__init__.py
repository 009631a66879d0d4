"""Delta methods: each a frozen dataclass whose `on(plm)` is a smooth map φ ↦ parameter overrides."""

from __future__ import annotations

from typing import Any

from lab.deltas.additive import Additive
from lab.deltas.bitfit import BitFit
from lab.deltas.delta import Combined, Counts, Delta, Reparameterized
from lab.deltas.full_fine_tuning import FullFineTuning
from lab.deltas.intrinsic import DID, SAID
from lab.deltas.linear_probe import LinearProbe
from lab.deltas.lora import LoRA
from lab.deltas.method import DeltaMethod
from lab.deltas.selective import LastLayer, SelectiveModule

METHODS: tuple[type[DeltaMethod], ...] = (
    FullFineTuning,
    LinearProbe,
    BitFit,
    LastLayer,
    SelectiveModule,
    LoRA,
    DID,
    SAID,
)


def method_from_json(config: dict[str, Any]) -> DeltaMethod:
    """The method that `DeltaMethod.to_json` wrote.

    Raises:
        ValueError: unknown method name or hyperparameter.
    """
    by_name = {method.name: method for method in METHODS}
    values = dict(config)
    name = values.pop("method", None)
    if name not in by_name:
        raise ValueError(f"unknown delta method {name!r}; choose one of {sorted(by_name)}.")
    return by_name[name].from_fields(values)


__all__ = [
    "DID",
    "METHODS",
    "SAID",
    "Additive",
    "BitFit",
    "Combined",
    "Counts",
    "Delta",
    "DeltaMethod",
    "FullFineTuning",
    "LastLayer",
    "LinearProbe",
    "LoRA",
    "Reparameterized",
    "SelectiveModule",
    "method_from_json",
]
