"""From the names in a checkpoint to role, block and orientation, without building the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lab.checkpoints.error import CheckpointError
from lab.checkpoints.folder import CONFIG, WeightFolder
from lab.checkpoints.names import EMBEDDINGS, HEADS
from lab.checkpoints.sizes import check_sizes
from lab.deferred import transformers
from lab.models.architecture import Architecture, Slot
from lab.models.checkpoint import configuration
from lab.models.families import ARCHITECTURES
from lab.models.naming import role_of
from lab.models.quiet import quiet
from lab.models.structure import architecture_for

_TABLES = re.compile(r"embed|relative_attention_bias|(^|\.)w[tp]e\.")
"""Look-up tables, also inside of blocks: no linear maps."""


@dataclass(frozen=True)
class Position:
    """Where a parameter stands.

    Attributes:
        role: as in `lab.models.architecture.WeightMatrix`; "embedding" or "other" outside the blocks.
        block: index in order of depth, or None.
        transposed: the file holds Wᵀ (GPT-2).
        known: an architecture names it; otherwise its own name alone is known.
    """

    role: str
    block: int | None
    transposed: bool = False
    known: bool = False


def architecture_in(folder: WeightFolder) -> Architecture | None:
    """The architecture of the model that a folder's config.json describes: its row, or what its structure says.

    None where that cannot be told; `positions` then goes by names.
    """
    row = next((row for row in ARCHITECTURES if folder.model_type in row.model_types), None)
    if row is not None or folder.model_type not in transformers.CONFIG_MAPPING:
        return row
    file = folder.path / CONFIG
    try:
        check_sizes(file, folder.config, folder.entries)
        with quiet():
            return architecture_for(configuration(file, dict(folder.config)))
    except (CheckpointError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return None


def positions(names: Sequence[str], architecture: Architecture | None = None) -> dict[str, Position]:
    """Name of a weight -> its position: by an architecture, else by its own name and its place in a list.

    A matrix that the architecture does not name and that stands in a numbered list of modules
    ("model.decoder.layers.3.fc1") has the list's number as its block, and the role that its name says
    (`lab.models.naming.role_of`) or "other". A decoder's blocks count on after the encoder's when both occur.

    Args:
        names: of weights in a file.
        architecture: of the model (`architecture_in`). Default: the first row of `lab.models.families` that names it.
    """
    found = {name: _position(name, ARCHITECTURES if architecture is None else (architecture,)) for name in names}
    lengths: dict[str, int] = {}
    for at in found.values():
        if at is not None:
            lengths[at.stack] = max(lengths.get(at.stack, 0), at.number + 1)
    known = {at.stack for at in found.values() if at is not None and at.known}
    stacks = sorted((s for s, n in lengths.items() if s in known or n > 1), key=lambda s: ("decoder" in s, s))
    first = {stack: sum(lengths[before] for before in stacks[:i]) for i, stack in enumerate(stacks)}
    result = {}
    for name, at in found.items():
        if EMBEDDINGS.search(name) or at is None or at.stack not in first:
            result[name] = Position("embedding" if EMBEDDINGS.search(name) else "other", None)
        else:
            result[name] = Position(at.role, at.number + first[at.stack], at.transposed, at.known)
    return result


@dataclass(frozen=True)
class _Place:
    """A weight in a list of modules: the list's path, the number in it."""

    stack: str
    number: int
    role: str
    transposed: bool = False
    known: bool = False


def _position(name: str, architectures: Sequence[Architecture]) -> _Place | None:
    """The place of a weight by the first architecture that has such a matrix, else by the first number in its path."""
    for architecture in architectures:
        for stack in architecture.stacks:
            match = re.search(rf"((?:^|.*\.){re.escape(stack.path)})\.(\d+)\.(.+)\.weight$", name)
            if not match:
                continue
            for role, slot in stack.slots.items():
                if slot.part is None and match[3] in _paths(slot):
                    return _Place(match[1], int(match[2]), role, slot.transposed, known=True)
    match = re.match(r"(.+?)\.(\d{1,6})\.(?:(.+)\.)?weight$", name)
    if match is None or HEADS.search(name) or _TABLES.search(name):
        return None
    return _Place(match[1], int(match[2]), role_of(match[3] or ""))


def _paths(slot: Slot) -> list[str]:
    parent, _, leaves = slot.module.rpartition(".")
    return [f"{parent}.{leaf}" if parent else leaf for leaf in leaves.split("|")]
