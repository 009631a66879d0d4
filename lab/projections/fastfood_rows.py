"""Some rows of a Fastfood map, at the cost of the groups of blocks they lie in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lab.linalg.differentiable import linear_map
from lab.linalg.operator import LinearOperator
from lab.projections import fastfood_cpu
from lab.projections.fastfood_plan import Plan


class FastfoodRows(LinearOperator):
    """P[places] (k, d) for distinct places: only the groups that hold one of them are drawn and transformed.

    Cost: O(groups · group · log d) additions, a group being 16,384 places or one block, whichever is more; the places
    are then picked out of (forward) or filled into (adjoint) the rows of these groups. On the CPU, for stacked maps of
    blocks that fit in cache (d ≤ 65,536).

    Args:
        plan: of the whole map.
        places: ascending int64 (k,), or a slice from start to stop, as `Projection.rows` has checked them.
    """

    def __init__(self, plan: Plan, places: Tensor | slice):
        size = plan.length * plan.lanes
        self.plan = plan
        self.groups: range | np.ndarray
        self.within: Tensor | slice
        if isinstance(places, slice):
            rows, start = places.stop - places.start, places.start % size
            self.groups = range(places.start // size, -(-places.stop // size))
            self.within = slice(start, start + rows)
            self.length = start + rows
        else:
            numbers, group_of_place = torch.unique_consecutive(places // size, return_inverse=True)
            self.groups = numbers.numpy()
            self.within = group_of_place * size + places % size
            self.length = len(numbers) * size
            rows = len(places)
        self.shape = (rows, plan.d)

    def _matmat(self, X: Tensor) -> Tensor:
        return linear_map(self._product, self._adjoint_product, X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return linear_map(self._adjoint_product, self._product, Y)

    def _product(self, X: Tensor) -> Tensor:
        return fastfood_cpu.groups_product(self.plan, X, self.groups, self.length)[self.within]

    def _adjoint_product(self, Y: Tensor) -> Tensor:
        if isinstance(self.within, slice):
            return self._adjoint_of_run(Y, self.within.start)
        rows = Y.new_zeros(Y.shape[1], self.length).T
        rows[self.within] = Y
        return fastfood_cpu.groups_adjoint(self.plan, rows, self.groups)

    def _adjoint_of_run(self, Y: Tensor, start: int) -> Tensor:
        """Only the first group is padded, so that a long run is read where it lies."""
        size = self.plan.length * self.plan.lanes
        ragged = (size - start) % size if start else 0
        first, rest = Y[:ragged], Y[ragged:]
        total = Y.new_zeros(self.plan.d, Y.shape[1])
        if len(first):
            padded = torch.cat([Y.new_zeros(start, Y.shape[1]), first])
            total += fastfood_cpu.groups_adjoint(self.plan, padded, self.groups[:1])
        if len(rest):
            total += fastfood_cpu.groups_adjoint(self.plan, rest, self.groups[1:] if ragged else self.groups)
        return total
