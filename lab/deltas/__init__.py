"""Delta methods: each a frozen dataclass whose `on(plm)` is a smooth map φ ↦ parameter overrides."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lab.deltas.adapter import Adapter
from lab.deltas.added_bias import AddedBias
from lab.deltas.additive import Additive
from lab.deltas.bitfit import BitFit
from lab.deltas.combination import Combination
from lab.deltas.counts import CountRow, count_table, percentage
from lab.deltas.delta import Combined, Counts, Delta, Reparameterized, TrainingForm
from lab.deltas.diff_pruning import DiffPruning
from lab.deltas.full_fine_tuning import FullFineTuning
from lab.deltas.further import further
from lab.deltas.ia3 import IA3
from lab.deltas.intrinsic import DID, SAID
from lab.deltas.linear_probe import LinearProbe
from lab.deltas.lora import LoRA
from lab.deltas.mask import Mask
from lab.deltas.method import DeltaMethod
from lab.deltas.peft import PeftMethod, from_peft
from lab.deltas.peft_adapters import load_adapter, save_adapter
from lab.deltas.prefix import Prefix
from lab.deltas.prefix_mass import prefix_mass
from lab.deltas.prompt import Prompt
from lab.deltas.selective import LastLayer, SelectiveModule
from lab.deltas.serving import serve
from lab.plugins import loaded

METHODS: tuple[type[DeltaMethod], ...]
"""Every method; made when it is first asked for, as a module of another package that adds one imports this room."""

_LISTED: tuple[type[DeltaMethod], ...] = (
    FullFineTuning,
    LinearProbe,
    # addition
    Adapter,
    Prefix,
    Prompt,
    IA3,
    AddedBias,
    # specification
    BitFit,
    LastLayer,
    SelectiveModule,
    DiffPruning,
    Mask,
    # reparameterisation
    LoRA,
    DID,
    SAID,
)


@cache
def _methods() -> tuple[type[DeltaMethod], ...]:
    """Those listed, what else lies in this folder, and what other packages add."""
    return (*_LISTED, *further(), *loaded("methods", DeltaMethod))


if not TYPE_CHECKING:  # a checker would take any name for one of this module

    def __getattr__(name: str) -> Any:
        if name == "METHODS":
            return _methods()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def method_from_json(config: dict[str, Any]) -> DeltaMethod:
    """The method that `DeltaMethod.to_json` wrote.

    Raises:
        ValueError: unknown method name or hyperparameter.
    """
    methods: tuple[type[DeltaMethod], ...] = (*_methods(), PeftMethod, Combination)
    by_name = {method.name: method for method in methods}
    values = dict(config)
    name = values.pop("method", None)
    if name not in by_name:
        raise ValueError(f"unknown delta method {name!r}; choose one of {sorted(by_name)}.")
    if name == Combination.name:
        values["parts"] = [method_from_json(part) for part in values.get("parts", ())]
    return by_name[name].from_fields(values)


__all__ = [
    "DID",
    "IA3",
    "METHODS",
    "SAID",
    "Adapter",
    "AddedBias",
    "Additive",
    "BitFit",
    "Combination",
    "Combined",
    "CountRow",
    "Counts",
    "Delta",
    "DeltaMethod",
    "DiffPruning",
    "FullFineTuning",
    "LastLayer",
    "LinearProbe",
    "LoRA",
    "Mask",
    "PeftMethod",
    "Prefix",
    "Prompt",
    "Reparameterized",
    "SelectiveModule",
    "TrainingForm",
    "count_table",
    "from_peft",
    "load_adapter",
    "method_from_json",
    "percentage",
    "prefix_mass",
    "save_adapter",
    "serve",
]
