"""Some places of an image: their groups, and vectors that lie in parts of memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

Places = Tensor | slice
"""Ascending int64 (k,), or from start to stop, as `Projection.rows` has checked them."""


def length(places: Places) -> int:
    return places.stop - places.start if isinstance(places, slice) else len(places)


def in_groups(places: Places, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(groups, starts, numbers, first): the groups of `size` neighbours that hold a place, in order.

    Those of groups[i] are the places number starts[i] to starts[i + 1]. Place number q is numbers[q], or first + q
    where `numbers` is empty.
    """
    if isinstance(places, slice):
        groups = np.arange(places.start // size, (places.stop - 1) // size + 1)
        borders = np.append(groups, groups[-1] + 1) * size
        return groups, np.clip(borders, places.start, places.stop) - places.start, np.empty(0, np.int64), places.start
    numbers = places.numpy()
    groups = np.arange(numbers[0] // size, numbers[-1] // size + 1)
    starts = np.searchsorted(numbers, np.append(groups, groups[-1] + 1) * size)
    held = np.diff(starts) > 0
    return groups[held], np.append(starts[:-1][held], len(numbers)), numbers, 0


def addresses(columns: Sequence[Sequence[Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """Where columns in contiguous parts lie, for the kernels: addresses (k, m), and borders between parts (m + 1,)."""
    assert all(part.is_contiguous() for column in columns for part in column)
    found = np.array([[part.data_ptr() for part in column] for column in columns], np.uint64)
    return found, np.cumsum([0, *(part.numel() for part in columns[0])])
