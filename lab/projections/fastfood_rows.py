"""Some rows of a Fastfood map, at the cost of the groups of blocks they lie in."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lab.projections import fastfood_cpu
from lab.projections.drawn_rows import DrawnRows
from lab.projections.fastfood_plan import Plan
from lab.projections.places import Places


class FastfoodRows(DrawnRows):
    """P[places]: only the groups that hold one of the places are drawn and transformed.

    Cost: O(groups · group · log d) additions, a group being 16,384 places or one block, whichever is more. For stacked
    maps of blocks that fit in cache (d ≤ 65,536).

    Args:
        plan: of the whole map.
        places: see `DrawnRows`.
    """

    def __init__(self, plan: Plan, places: Places):
        super().__init__(places, plan.d)
        self.plan = plan

    def _spread(self, X: Tensor, origin: Sequence[Tensor] = ()) -> Tensor:
        return fastfood_cpu.rows_product(self.plan, X, self.places, origin)

    def _collect(self, columns: Sequence[Sequence[Tensor]], like: Tensor) -> Tensor:
        return fastfood_cpu.parts_adjoint(self.plan, columns, self.places, like)
