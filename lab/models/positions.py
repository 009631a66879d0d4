"""From the names in a checkpoint to role, block and orientation, without building the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lab.checkpoints.names import EMBEDDINGS, HEADS
from lab.models.architecture import Slot
from lab.models.families import ARCHITECTURES

_TABLES = re.compile(r"embed|relative_attention_bias|(^|\.)w[tp]e\.")
"""Look-up tables, also inside of blocks: no linear maps."""


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
    """Name of a weight -> its position, by the families' rows (`lab.models.families`), else by its place in a list.

    A matrix of a family without a row, or of a kind that a row does not name, that stands in a numbered list of modules
    ("model.decoder.layers.3.fc1") has the list's number as its block and the role "other". A decoder's blocks count on
    after the encoder's when both occur.
    """
    found = {name: _position(name) for name in names}
    lengths: dict[str, int] = {}
    for at in found.values():
        if at is not None:
            lengths[at.stack] = max(lengths.get(at.stack, 0), at.number + 1)
    known = {at.stack for at in found.values() if at is not None and at.role != "other"}
    stacks = sorted((s for s, n in lengths.items() if s in known or n > 1), key=lambda s: ("decoder" in s, s))
    first = {stack: sum(lengths[before] for before in stacks[:i]) for i, stack in enumerate(stacks)}
    result = {}
    for name, at in found.items():
        if EMBEDDINGS.search(name) or at is None or at.stack not in first:
            result[name] = Position("embedding" if EMBEDDINGS.search(name) else "other", None)
        else:
            result[name] = Position(at.role, at.number + first[at.stack], at.transposed)
    return result


@dataclass(frozen=True)
class _Place:
    """A weight in a list of modules: the list's path, the number in it."""

    stack: str
    number: int
    role: str
    transposed: bool = False


def _position(name: str) -> _Place | None:
    """The place of a weight by the first family that has such a matrix, else by the first number in its path."""
    for architecture in ARCHITECTURES:
        for stack in architecture.stacks:
            match = re.search(rf"((?:^|.*\.){re.escape(stack.path)})\.(\d+)\.(.+)\.weight$", name)
            if not match:
                continue
            for role, slot in stack.slots.items():
                if slot.part is None and match[3] in _paths(slot):
                    return _Place(match[1], int(match[2]), role, slot.transposed)
    match = re.match(r"(.+?)\.(\d{1,6})\.(?:.+\.)?weight$", name)
    if match is None or HEADS.search(name) or _TABLES.search(name):
        return None
    return _Place(match[1], int(match[2]), "other")


def _paths(slot: Slot) -> list[str]:
    parent, _, leaves = slot.module.rpartition(".")
    return [f"{parent}.{leaf}" if parent else leaf for leaf in leaves.split("|")]
