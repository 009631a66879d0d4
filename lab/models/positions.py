"""From the names in a checkpoint to role, block and orientation, without building the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lab.checkpoints.names import EMBEDDINGS
from lab.models.architecture import Slot
from lab.models.families import ARCHITECTURES


@dataclass(frozen=True)
class Position:
    """Where a parameter stands.

    Attributes:
        role: as in `lab.models.architecture.WeightMatrix`; "embedding" or "other" outside the blocks.
        block: index in order of depth, or None.
        transposed: the file holds Wᵀ (GPT-2).
    """

    role: str
    block: int | None
    transposed: bool = False


def positions(names: Sequence[str]) -> dict[str, Position]:
    """Name of a weight -> its position, by the families' rows (`lab.models.families`).

    A decoder's blocks count on after the encoder's when both occur.
    """
    found = {name: _position(name) for name in names}
    n_encoder = 1 + max((at[1] for name, at in found.items() if at and at[0] == "encoder.block"), default=-1)
    result = {}
    for name, at in found.items():
        if at is None:
            result[name] = Position("embedding" if EMBEDDINGS.search(name) else "other", None)
        else:
            stack, block, role, transposed = at
            result[name] = Position(role, block + (n_encoder if stack == "decoder.block" else 0), transposed)
    return result


def _position(name: str) -> tuple[str, int, str, bool] | None:
    """(stack path, index in the stack, role, transposed) by the first family that has such a matrix."""
    for architecture in ARCHITECTURES:
        for stack in architecture.stacks:
            match = re.search(rf"(?:^|\.){re.escape(stack.path)}\.(\d+)\.(.+)\.weight$", name)
            if not match:
                continue
            for role, slot in stack.slots.items():
                if slot.third is None and match[2] in _paths(slot):
                    return stack.path, int(match[1]), role, slot.transposed
    return None


def _paths(slot: Slot) -> list[str]:
    parent, _, leaves = slot.module.rpartition(".")
    return [f"{parent}.{leaf}" if parent else leaf for leaf in leaves.split("|")]
