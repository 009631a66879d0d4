"""Where the weights of a file are kept once read: nowhere, or in the memory that the processes of a machine share.

A process reads its own copy unless its engine brings a shelf (`lab.execution.ray`: the object store). A shelf holds
bytes, not tensors: those of a file lie one after the other in one array, each at an address a multiple of `ALIGNED`,
because a matrix product rounds otherwise at odd addresses.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor

ALIGNED = 64  # bytes: a cache line, and the alignment of torch's own memory

Places = dict[str, tuple[str, tuple[int, ...], int]]  # name -> dtype, shape, first byte
Packed = tuple[np.ndarray, Places]
Shelf = Callable[[str, Callable[[], Packed]], Packed]  # (sha256 of a file, how to read it) -> what is shared

_SHELF: ContextVar[Shelf | None] = ContextVar("_SHELF", default=None)


@contextmanager
def kept_on(shelf: Shelf) -> Iterator[None]:
    """Weights that are read inside are taken from a shelf, and put there first if it does not have them."""
    token = _SHELF.set(shelf)
    try:
        yield
    finally:
        _SHELF.reset(token)


def kept(sha256: str, read: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of a file, from the shelf if there is one.

    Args:
        sha256: of the file, which names its contents.
        read: reads it.
    """
    shelf = _SHELF.get()
    return read() if shelf is None else unpacked(*shelf(sha256, lambda: packed(read())))


def packed(tensors: dict[str, Tensor]) -> Packed:
    """The bytes of all tensors, (n,) uint8, and where each one lies."""
    places: Places = {}
    end = 0
    for name, tensor in tensors.items():
        places[name] = (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), end)
        end += -(-tensor.nbytes // ALIGNED) * ALIGNED
    memory = torch.empty(end, dtype=torch.uint8)
    for name, tensor in tensors.items():
        _tensor(memory, *places[name]).copy_(tensor)
    return memory.numpy(), places


def unpacked(memory: np.ndarray, places: Places) -> dict[str, Tensor]:
    """The tensors in a packed array, as views; nobody may write to them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # a PLM is never mutated
        whole = torch.from_numpy(memory)
    return {name: _tensor(whole, *place) for name, place in places.items()}


def _tensor(memory: Tensor, dtype: str, shape: tuple[int, ...], start: int) -> Tensor:
    of = getattr(torch, dtype)
    return memory[start : start + math.prod(shape) * of.itemsize].view(of).reshape(shape)
