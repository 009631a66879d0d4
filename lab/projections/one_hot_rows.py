"""Some rows of a one-hot projection: their columns, two bytes a row, are drawn once and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lab.projections import kernels
from lab.projections.drawn_rows import DrawnRows
from lab.projections.memory import empty_like_rows
from lab.projections.places import Places, addresses, in_groups
from lab.projections.threads import limited_threads


class OneHotRows(DrawnRows):
    """P[places] of P_ij = ±1/√n_j.

    Drawing a row's column costs ten times what reading it does, and a training reads the same rows twice a step. So
    they are kept from the first use on: for each row its place in (x, −x), 2 bytes while 2 d ≤ 65,536, else 4.

    Cost: O(places); at first also the stretches of d rows that they lie in. State: 2 or 4 bytes a place.

    Args:
        places: see `DrawnRows`.
        d: width of the projection.
        keys: of its signs and its permutations.
        signed: whether it has signs.
        scaled: columns X (d, k) ↦ X / √n_j as contiguous rows (k, d).
    """

    def __init__(self, places: Places, d: int, keys: np.ndarray, signed: bool, scaled: Callable[[Tensor], Tensor]):
        super().__init__(places, d)
        self.d, self.keys, self.signed, self.scaled = d, keys, signed, scaled

    @cached_property
    def codes(self) -> np.ndarray:
        """Column of each place, + d where its sign is −; (k,) uint16 or uint32."""
        codes = np.empty(self.shape[0], np.uint16 if 2 * self.d <= 1 << 16 else np.uint32)
        with limited_threads():
            kernels.one_hot_codes(codes, *in_groups(self.places, self.d), self.d, self.keys, self.signed)
        return codes

    def _spread(self, X: Tensor, origin: Sequence[Tensor] = ()) -> Tensor:
        rows = self.scaled(X)
        both, Y = torch.cat([rows, -rows], dim=1), empty_like_rows(X.shape[1], self.shape[0], X)
        with limited_threads():
            kernels.one_hot_spread(both.numpy(), Y.numpy(), self.codes, *addresses([origin]))
        return Y.T

    def _collect(self, columns: Sequence[Sequence[Tensor]], like: Tensor) -> Tensor:
        sums = like.new_empty(min(kernels.PARTS, self.shape[0]), len(columns), 2 * self.d)
        with limited_threads():
            kernels.one_hot_collect(sums.numpy(), self.codes, *addresses(columns))
        plus, minus = sums.sum(0).split(self.d, dim=1)
        return self.scaled((plus - minus).T).T
