"""What all projections share: R^d -> R^D, isotropic, determined by (D, d, seed)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lab.linalg.differentiable import linear_map
from lab.linalg.operator import LinearOperator


@dataclass(frozen=True)
class Projection(LinearOperator):
    """P in R^{D×d} with E‖P x‖² = ‖x‖²; (D, d, seed) and the class determine it, and nothing else is kept.

    A frozen dataclass: hashable, comparable, printable, so it can stand in a config. `P @ x` has the dtype and device
    of x and is differentiable to any order, in both modes, and under vmap.

    Subclasses write `_product` and `_adjoint_product` on plain columns.

    Attributes:
        D: length of the image, the number of weights.
        d: dimension of the subspace, 1 ≤ d ≤ D.
        seed: any int.
    """

    D: int
    d: int
    seed: int = 0

    name: ClassVar[str]
    drawn: ClassVar[bool] = True  # made from (D, d, seed) alone

    def __post_init__(self):
        for label, value in (("D", self.D), ("d", self.d), ("seed", self.seed)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"{type(self).__name__} needs an int {label}; got {value!r}.")
        if not 1 <= self.d <= self.D:
            raise ValueError(
                f"{type(self).__name__} maps R^d into R^D with 1 <= d <= D; got d = {self.d}, D = {self.D}. "
                "Choose d between 1 and the number of weights."
            )

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        """(D, d)."""
        return (self.D, self.d)

    @abstractmethod
    def _product(self, X: Tensor) -> Tensor:
        """P X for columns X (d, k)."""

    @abstractmethod
    def _adjoint_product(self, Y: Tensor) -> Tensor:
        """Pᵀ Y for columns Y (D, k)."""

    def _matmat(self, X: Tensor) -> Tensor:
        return linear_map(self._product, self._adjoint_product, _floating(self, X))

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return linear_map(self._adjoint_product, self._product, _floating(self, Y))


def _floating(projection: Projection, X: Tensor) -> Tensor:
    if X.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{type(projection).__name__} acts on float32 or float64 vectors; got {X.dtype}. Convert with .float()."
        )
    return X
