"""What peft saves whole (`modules_to_save`) of weights that several modules share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lab.models import PLM


def tied_names(model: nn.Module) -> list[tuple[str, ...]]:
    """The names of each parameter that has several."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [tuple(found) for found in names.values() if len(found) > 1]


def replaced_once(
    replaced: Mapping[str, nn.Parameter], tied: list[tuple[str, ...]], plm: PLM, config: Any
) -> dict[str, nn.Parameter]:
    """What peft put in the place of native parameters, by the one name that a tied parameter has on the PLM.

    Args:
        replaced: name of a native parameter -> what peft trains in its place (`modules_to_save`).
        tied: `tied_names` of the PLM's model.
        plm: the PLM.
        config: the peft configuration.

    Raises:
        ValueError: peft replaces some of a tied parameter's places alone, which a delta cannot.
    """
    kind = getattr(config.peft_type, "value", config.peft_type)
    found = dict(replaced)
    for names in tied:
        there = [name for name in names if name in replaced]
        if not there:
            continue
        alone = [name for name in names if replaced.get(name) is not replaced[there[0]]]
        if alone:
            remedy = (
                "peft tied nothing here, in spite of ensure_weight_tying; take a LoRA of that module"
                if getattr(config, "ensure_weight_tying", False)
                else "set ensure_weight_tying=True, or take a LoRA of that module"
            )
            raise ValueError(
                f"peft's {kind} saves {there[0]!r}, which {plm.name!r} shares with {alone[0]!r}: it would "
                f"change the one and leave the other, which a delta of tied weights cannot: {remedy}."
            )
        parameter = found.pop(there[0])
        found = {name: p for name, p in found.items() if name not in names} | {names[0]: parameter}
    return found
