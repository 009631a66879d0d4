"""Some rows of a projection, without the others: as an operator, and on vectors that lie in parts of memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from lab.linalg.differentiable import linear_map
from lab.linalg.operator import LinearOperator
from lab.projections.places import Places, length


class DrawnRows(LinearOperator):
    """P[places] (k, d) for distinct places, on the CPU.

    Subclasses write `_spread` and `_collect`.

    Args:
        places: ascending int64 (k,), or a slice from start to stop, as `Projection.rows` has checked them.
        d: width of P.
    """

    def __init__(self, places: Places, d: int):
        self.places = places
        self.shape = (length(places), d)

    @abstractmethod
    def _spread(self, X: Tensor, origin: Sequence[Tensor] = ()) -> Tensor:
        """P[places] X (k, columns) for columns X (d, columns); to one column `origin` is added, contiguous parts."""

    @abstractmethod
    def _collect(self, columns: Sequence[Sequence[Tensor]], like: Tensor) -> Tensor:
        """P[places]ᵀ Y (d, columns) for columns in contiguous parts, all of like's dtype."""

    def _matmat(self, X: Tensor) -> Tensor:
        return linear_map(self._spread, self._collect_whole, X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return linear_map(self._collect_whole, self._spread, Y)

    def _collect_whole(self, Y: Tensor) -> Tensor:
        return self._collect([[row] for row in Y.T.contiguous()], Y)

    @torch.no_grad()
    def added_to(self, origin: Sequence[Tensor], x: Tensor) -> Tensor:
        """origin + P[places] x (k,), not recorded by autograd; origin in parts, one after the other, read in place.

        Raises:
            ValueError: the parts do not make a vector (k,).
        """
        parts = self._checked([part.detach().to(x.dtype) for part in origin])
        return self._spread(x.detach()[:, None], parts)[:, 0]

    @torch.no_grad()
    def adjoint_of(self, parts: Sequence[Tensor]) -> Tensor:
        """P[places]ᵀ y (d,), not recorded by autograd; y in parts, one after the other, read in place.

        Raises:
            ValueError: the parts do not make a vector (k,).
        """
        read = self._checked([part.detach() for part in parts])
        return self._collect([read], read[0])[:, 0]

    def _checked(self, parts: Sequence[Tensor]) -> list[Tensor]:
        size = sum(part.numel() for part in parts)
        if size != self.shape[0]:
            raise ValueError(f"the parts must make a vector of {self.shape[0]} numbers; got {size}.")
        return [part.contiguous() for part in parts]
