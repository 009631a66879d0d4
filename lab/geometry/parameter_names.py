"""From the names in a checkpoint to role, block and orientation, without building the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab.models.architecture import Slot
from lab.models.families import ARCHITECTURES

# parameters that belong to a head or a pooler: present in one checkpoint and absent from another without being renamed
HEADS = re.compile(
    r"(^|\.)(classifier|score|lm_head|cls|qa_outputs|pooler|classification_head|pre_classifier|vocab_projector)\."
)
EMBEDDINGS = re.compile(r"(^|\.)(word_embeddings|embed_tokens|wte|shared)\.weight$")


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


def aligned(base: Iterable[str], tuned: Iterable[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Match the names of two checkpoints of one model, one of which may carry a prefix ("bert.", "model.").

    Returns:
        tuned name -> base name; base names left over; tuned names left over.
    """
    base, tuned = list(base), list(tuned)
    best: dict[str, str] = {}
    for prefix in _prefixes(base, tuned):
        pairs = {}
        known = set(base)
        for name in tuned:
            other = name.removeprefix(prefix[1:]) if prefix[0] == "-" else prefix[1:] + name
            if prefix[0] == "-" and not name.startswith(prefix[1:]):
                continue
            if other in known:
                pairs[name] = other
        if len(pairs) > len(best):
            best = pairs
    matched = set(best.values())
    return best, [name for name in base if name not in matched], [name for name in tuned if name not in best]


def _prefixes(base: list[str], tuned: list[str]) -> list[str]:
    """Candidates: nothing, and the leading components of names that one side may have on top ("+p" or "-p")."""
    first = {name.split(".", 1)[0] + "." for name in tuned if "." in name}
    other = {name.split(".", 1)[0] + "." for name in base if "." in name}
    return ["+", *sorted("-" + p for p in first), *sorted("+" + p for p in other)]
