"""Some rows of a Fastfood map, at the cost of the groups of blocks they lie in."""

from __future__ import annotations

from collections.abc import Sequence

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

    def added_to(self, origin: Sequence[Tensor], x: Tensor) -> Tensor:
        """origin + P[places] x (k,), not recorded by autograd; origin in parts, one after the other, read in place.

        Raises:
            ValueError: the parts do not make a vector (k,).
        """
        parts = self._checked([part.detach().to(x.dtype) for part in origin])
        return fastfood_cpu.rows_product(self.plan, x.detach()[:, None], self.places, parts)[:, 0]

    def adjoint_of(self, parts: Sequence[Tensor]) -> Tensor:
        """P[places]ᵀ y (d,), not recorded by autograd; y in parts, one after the other, read in place.

        Raises:
            ValueError: the parts do not make a vector (k,).
        """
        read = self._checked([part.detach() for part in parts])
        return fastfood_cpu.parts_adjoint(self.plan, [read], self.places, read[0])[:, 0]

    def _checked(self, parts: Sequence[Tensor]) -> list[Tensor]:
        size = sum(part.numel() for part in parts)
        if size != self.shape[0]:
            raise ValueError(f"the parts must make a vector of {self.shape[0]} numbers; got {size}.")
        return [part.contiguous() for part in parts]

    def _product(self, X: Tensor) -> Tensor:
        return fastfood_cpu.rows_product(self.plan, X, self.places)

    def _adjoint_product(self, Y: Tensor) -> Tensor:
        return fastfood_cpu.rows_adjoint(self.plan, Y, self.places)
