"""The numba kernels use as many threads as torch does: `torch.set_num_threads` and OMP_NUM_THREADS govern both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba
import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch runs on one thread: matrix products over a long sum differ in the last bit with their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def limited_threads() -> Iterator[None]:
    """Inside, numba runs on torch's number of threads; results do not depend on it."""
    torch_threads = torch.get_num_threads()  # before numba starts: its OpenMP layer sets the number torch reads, too
    before = numba.get_num_threads()
    launched: int = vars(numba.config)["NUMBA_NUM_THREADS"]  # filled in at import, where type checkers do not see it
    numba.set_num_threads(max(1, min(torch_threads, launched)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
        if torch.get_num_threads() != torch_threads:
            torch.set_num_threads(torch_threads)
