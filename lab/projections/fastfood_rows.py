"""Some rows of a Fastfood map, at the cost of the groups of blocks they lie in."""

from __future__ import annotations

from torch import Tensor

from lab.linalg.differentiable import linear_map
from lab.linalg.operator import LinearOperator
from lab.projections import fastfood_cpu
from lab.projections.fastfood_plan import Plan


class FastfoodRows(LinearOperator):
    """P[places] (k, d) for distinct places: only the groups that hold one of them are drawn and transformed.

    Cost: O(groups · group · log d) additions, a group being 16,384 places or one block, whichever is more. On the CPU,
    for stacked maps of blocks that fit in cache (d ≤ 65,536).

    Args:
        plan: of the whole map.
        places: ascending int64 (k,), or a slice from start to stop, as `Projection.rows` has checked them.
    """

    def __init__(self, plan: Plan, places: Tensor | slice):
        self.plan, self.places = plan, places
        rows = places.stop - places.start if isinstance(places, slice) else len(places)
        self.shape = (rows, plan.d)

    def _matmat(self, X: Tensor) -> Tensor:
        return linear_map(self._product, self._adjoint_product, X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return linear_map(self._adjoint_product, self._product, Y)

    def _product(self, X: Tensor) -> Tensor:
        return fastfood_cpu.rows_product(self.plan, X, self.places)

    def _adjoint_product(self, Y: Tensor) -> Tensor:
        return fastfood_cpu.rows_adjoint(self.plan, Y, self.places)
