"""What all projections share: R^d -> R^D, isotropic, determined by (D, d, seed)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from lab.linalg.differentiable import linear_map
from lab.linalg.layout import Layout
from lab.linalg.operator import LinearOperator
from lab.linalg.structure import Structure

BATCH = 8  # columns of P at a time: as many as its kernels share one drawing for


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
    shown: ClassVar[str] = ""  # in figures; "": the name
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

    @classmethod
    def over(cls, layout: Layout, d: int, *, seed: int = 0) -> Self:
        """R^d -> the flat vector of a layout; a class that looks at the shapes of its parts overrides this."""
        return cls(layout.size, d, seed=seed)

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        """(D, d)."""
        return (self.D, self.d)

    @property
    def has_cheap_rows(self) -> bool:
        """Whether `rows` costs less than the whole product (on the CPU)."""
        return False

    def rows(self, places: Tensor | slice) -> LinearOperator:
        """P[places], an operator (k, d).

        Args:
            places: distinct places of the image, ascending: int64 (k,), or a slice without step.

        Raises:
            ValueError: places that do not ascend or do not lie in 0 … D − 1, or a slice with a step.
        """
        return Rows(self, self._checked(places))

    def gram(self) -> LinearOperator:
        """PᵀP, (d, d) in float64; a class that knows it without products of length D overrides this."""
        return Gram(self)

    def _checked(self, places: Tensor | slice) -> Tensor | slice:
        if isinstance(places, slice):
            start, stop, step = places.indices(self.D)
            if step == 1 and start < stop:
                return slice(start, stop)
            raise ValueError(f"rows need a slice that is not empty and has no step; got {places} of D = {self.D}.")
        inside = len(places) and int(places[0]) >= 0 and int(places[-1]) < self.D
        if inside and bool((places[1:] > places[:-1]).all()):
            return places
        raise ValueError(f"rows need distinct ascending places within 0 … {self.D - 1}, one or more.")

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


class Gram(LinearOperator):
    """PᵀP in float64, by a product of P and one of its adjoint."""

    structure = Structure.POSITIVE_SEMIDEFINITE

    def __init__(self, P: LinearOperator):
        self.P = P
        self.shape, self.dtype, self.device = (P.shape[1], P.shape[1]), torch.float64, P.device

    def _matmat(self, X: Tensor) -> Tensor:
        return self.P.T @ (self.P @ X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self._matmat(Y)

    def to_dense(self) -> Tensor:
        """The matrix, a few columns at a time."""
        columns = torch.eye(self.shape[0], dtype=self.dtype, device=self.device)
        return torch.cat([self @ batch for batch in columns.split(BATCH, dim=1)], dim=1)


class Rows(LinearOperator):
    """P[places]: the whole product, then the places."""

    def __init__(self, whole: Projection, places: Tensor | slice):
        self.whole, self.places = whole, places
        k = places.stop - places.start if isinstance(places, slice) else len(places)
        self.shape = (k, whole.d)

    def _matmat(self, X: Tensor) -> Tensor:
        return linear_map(self._picked, self._filled, self.whole._matmat(X))

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self.whole._rmatmat(linear_map(self._filled, self._picked, Y))

    def _picked(self, image: Tensor) -> Tensor:
        return image[self.places]

    def _filled(self, rows: Tensor) -> Tensor:
        image = rows.new_zeros(self.whole.D, rows.shape[1])
        image[self.places] = rows
        return image


def _floating(projection: Projection, X: Tensor) -> Tensor:
    if X.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{type(projection).__name__} acts on float32 or float64 vectors; got {X.dtype}. Convert with .float()."
        )
    return X
