"""Which matrices of a PLM an analysis looks at, where all would be too many."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TypeVar

import numpy as np

from lab.models import PLM
from lab.models.architecture import WeightMatrix

ROLES = ("query", "value")
T = TypeVar("T")


def evenly_spaced(values: Sequence[T], n: int) -> list[T]:
    """At most n of the values, evenly spaced, the first and the last among them.

    Example:
        >>> evenly_spaced(range(12), 3), evenly_spaced("ab", 3)
        ([0, 6, 11], ['a', 'b'])
    """
    return [values[int(i)] for i in np.linspace(0, len(values) - 1, min(n, len(values))).round()]


def studied(plm: PLM, names: Container[str], max_blocks: int) -> list[WeightMatrix]:
    """Query and value matrices among those named, of at most so many blocks, evenly spaced."""
    found = [m for m in plm.matrices(ROLES) if m.name in names]
    blocks = evenly_spaced(sorted({m.block for m in found}), max_blocks)
    return [m for m in found if m.block in blocks]


def neighbours(matrices: Sequence[WeightMatrix], max_blocks: int | None) -> list[WeightMatrix]:
    """Those of all blocks, or of evenly spaced pairs of neighbouring blocks."""
    blocks = sorted({m.block for m in matrices})
    if max_blocks is None or len(blocks) <= max_blocks:
        return list(matrices)
    first = evenly_spaced(blocks[:-1], max_blocks // 2)
    return [m for m in matrices if m.block in first or m.block - 1 in first]
