"""The methods whose cost is compared, and PLMs with random weights to measure it on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from lab.deltas import IA3, Adapter, BitFit, DeltaMethod, FullFineTuning, LastLayer, LoRA, Prefix, Prompt
from lab.models import MODELS, PLM, load_plm, untrained_plm
from lab.statistics.memory import FULL
from lab.study.materials import device, without_biases

LAST = "last layer"
"""No delta method of the source's claims: it is left out of them."""

METHODS: dict[str, DeltaMethod] = {
    FULL: FullFineTuning(),
    LAST: LastLayer(),
    "LoRA": LoRA(rank=8),
    "adapter": Adapter(bottleneck=64),
    "prefix": Prefix(tokens=5),
    "prompt": Prompt(tokens=100),
    "BitFit": BitFit(),
    "IA3": IA3(),
}


def methods_on(model: str, labels: Sequence[str]) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Label and JSON of those that a PLM of this name has a use for.

    LoRA is that of `lab.deltas.presets.delta_tuning_study`: in T5 beside cross-attention's query and value too.
    """
    chosen = {label: METHODS[label] for label in labels if label != "BitFit" or not without_biases(model)}
    if "LoRA" in chosen and "t5" in model:
        chosen["LoRA"] = LoRA(rank=8, targets=("query", "value", "cross_query", "cross_value"))
    return tuple((label, method.to_json()) for label, method in chosen.items())


@lru_cache(maxsize=1)
def untrained(model: str) -> PLM:
    """The model with the formula's attention, on the GPU when there is one; with random weights where its configuration
    is known, loaded where it is not; the last is kept."""
    if model in {known.name for known in MODELS}:
        return untrained_plm(model, device=device())
    return load_plm(model, device=device(), attention="eager")
