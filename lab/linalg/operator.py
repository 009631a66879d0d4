"""Linear maps R^n -> R^m known by their products, closed under their algebra.

An operator is defined by `_matmat` and `_rmatmat`; everything else (sums, products, transposes, slices, dense and scipy
views) follows, and so does what is known of its structure: AᵀA is positive semidefinite, the sum of two symmetric
operators is symmetric. Algorithms are free functions of operators, never methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from numbers import Number
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator as ScipyOperator
from torch import Tensor

from lab.faces import Facts, faced
from lab.linalg.structure import Structure


def _facts(A: LinearOperator) -> Facts:
    rows, columns = A.shape
    return {
        "map": f"R^{columns:,} → R^{rows:,}", "known": A.structure.name.lower().replace("_", " "),
        "dtype": str(A.dtype).removeprefix("torch."), "device": str(A.device),
    }  # fmt: skip


@faced(_facts, plain=False)
class LinearOperator(ABC):
    """A linear map R^n -> R^m.

    Attributes:
        shape: (m, n).
        dtype: the dtype of the vectors an algorithm should feed it.
        device: the device of those vectors.
        structure: what is known of it; `tagged` adds knowledge.

    Example:
        >>> A = Matrix(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> bool(((A + A).T @ torch.ones(2) == 2 * A.to_dense().T @ torch.ones(2)).all())
        True
    """

    shape: tuple[int, int]
    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")
    structure: Structure = Structure.GENERAL

    @abstractmethod
    def _matmat(self, X: Tensor) -> Tensor:
        """A X for X of shape (n, k); returns (m, k)."""

    @abstractmethod
    def _rmatmat(self, Y: Tensor) -> Tensor:
        """Aᵀ Y for Y of shape (m, k); returns (n, k)."""

    def __matmul__(self, other: Any) -> Any:
        """A @ x for a vector (n,), columns (n, k), or another operator (composition)."""
        if isinstance(other, LinearOperator):
            return Product(self, other)
        if not isinstance(other, Tensor):
            return NotImplemented
        if other.ndim not in (1, 2) or other.shape[0] != self.shape[1]:
            raise ValueError(
                f"{type(self).__name__} of shape {self.shape} acts on vectors ({self.shape[1]},) or columns "
                f"({self.shape[1]}, k); got a tensor of shape {tuple(other.shape)}."
            )
        if other.ndim == 2:
            return self._matmat(other)
        return self._matmat(other[:, None]).squeeze(1)  # a view both ways: [:, 0] would copy the gradient

    def __add__(self, other: LinearOperator) -> LinearOperator:
        return Sum(self, other) if isinstance(other, LinearOperator) else NotImplemented

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        return Sum(self, Scaled(other, -1.0)) if isinstance(other, LinearOperator) else NotImplemented

    def __neg__(self) -> LinearOperator:
        return Scaled(self, -1.0)

    def __mul__(self, scalar: float) -> LinearOperator:
        return Scaled(self, scalar) if isinstance(scalar, Number) else NotImplemented

    __rmul__ = __mul__

    @property
    def T(self) -> LinearOperator:
        """The adjoint, as an operator (n, m); a symmetric operator is its own."""
        return self if is_symmetric(self) else Transposed(self)

    def __getitem__(self, key: tuple[slice, slice]) -> LinearOperator:
        """A[rows, columns] with two slices."""
        if not (isinstance(key, tuple) and len(key) == 2 and all(isinstance(k, slice) for k in key)):
            raise TypeError(f"slice an operator with two slices, A[i:j, k:l]; got {key!r}.")
        return Sliced(self, *key)

    def to_dense(self) -> Tensor:
        """The matrix (m, n): n products, or m with the adjoint when that is fewer."""
        m, n = self.shape
        if n <= m:
            return self @ torch.eye(n, dtype=self.dtype, device=self.device)
        return (self.T @ torch.eye(m, dtype=self.dtype, device=self.device)).T

    def to_scipy(self) -> ScipyOperator:
        """The same map as a `scipy.sparse.linalg.LinearOperator` on numpy arrays."""

        def wrap(operator: LinearOperator) -> Callable[[ArrayLike], np.ndarray]:
            def product(x: ArrayLike) -> np.ndarray:
                with torch.no_grad():
                    copied = np.array(x, order="C")  # torch takes neither read-only nor reversed arrays
                    columns = torch.as_tensor(copied, dtype=self.dtype, device=self.device)
                    return (operator @ columns).cpu().numpy()

            return product

        forward, adjoint = wrap(self), wrap(self.T)
        dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        return ScipyOperator(self.shape, matvec=forward, rmatvec=adjoint, matmat=forward, rmatmat=adjoint, dtype=dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"


def is_symmetric(A: LinearOperator) -> bool:
    """Whether A is known to be symmetric."""
    return A.structure >= Structure.SYMMETRIC


def is_positive_semidefinite(A: LinearOperator) -> bool:
    """Whether A is known to be symmetric and positive semidefinite."""
    return A.structure >= Structure.POSITIVE_SEMIDEFINITE


def tagged(A: LinearOperator, structure: Structure) -> LinearOperator:
    """A with what its products cannot say: the same map, known to be symmetric or positive semidefinite.

    A promise that nothing checks: a wrong one gives wrong answers.

    Raises:
        ValueError: A is not square.

    Example:
        >>> A = Matrix(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
        >>> B = tagged(A, Structure.POSITIVE_SEMIDEFINITE)
        >>> is_positive_semidefinite(A), is_positive_semidefinite(3 * B + B), is_symmetric(-B)
        (False, True, True)
    """
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"only a square operator is symmetric; got shape {A.shape}. Compose A.T @ A or A @ A.T first.")
    return A if A.structure >= structure else Tagged(A, structure)


class Tagged(LinearOperator):
    """Another operator with a structure that its parts do not show; made by `tagged`."""

    def __init__(self, operator: LinearOperator, structure: Structure):
        self.operator, self.structure = operator, structure
        self.shape, self.dtype, self.device = operator.shape, operator.dtype, operator.device

    def _matmat(self, X: Tensor) -> Tensor:
        return self.operator._matmat(X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self.operator._rmatmat(Y)


class Matrix(LinearOperator):
    """A dense matrix (m, n) as an operator; symmetric where its entries are, exactly."""

    def __init__(self, matrix: Tensor):
        if matrix.ndim != 2:
            raise ValueError(f"Matrix needs a 2-d tensor; got shape {tuple(matrix.shape)}.")
        self.matrix = matrix
        self.shape = (matrix.shape[0], matrix.shape[1])
        self.dtype, self.device = matrix.dtype, matrix.device

    @cached_property
    def structure(self) -> Structure:  # type: ignore[override]
        return Structure.SYMMETRIC if _equal(self.matrix, self.matrix.mT) else Structure.GENERAL

    def _matmat(self, X: Tensor) -> Tensor:
        return self.matrix @ X

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self.matrix.T @ Y


class LowRank(LinearOperator):
    """L R with L (m, r) and R (r, n): a matrix kept as its factors, scale included.

    The factors are one choice among (L G⁻¹, G R); report only what is invariant under G. Positive semidefinite where
    R = Lᵀ, exactly.
    """

    def __init__(self, left: Tensor, right: Tensor):
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
            raise ValueError(
                f"LowRank needs factors (m, r) and (r, n); got {tuple(left.shape)} and {tuple(right.shape)}."
            )
        self.left, self.right = left, right
        self.shape = (left.shape[0], right.shape[1])
        self.dtype, self.device = left.dtype, left.device

    @cached_property
    def structure(self) -> Structure:  # type: ignore[override]
        return Structure.POSITIVE_SEMIDEFINITE if _equal(self.left, self.right.mT) else Structure.GENERAL

    def _matmat(self, X: Tensor) -> Tensor:
        return self.left @ (self.right @ X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self.right.T @ (self.left.T @ Y)


class Identity(LinearOperator):
    """The identity on R^n."""

    structure = Structure.POSITIVE_SEMIDEFINITE

    def __init__(self, n: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"):
        self.shape, self.dtype, self.device = (n, n), dtype, torch.device(device)

    def _matmat(self, X: Tensor) -> Tensor:
        return X

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return Y


class Diagonal(LinearOperator):
    """diag(d) for d of shape (n,)."""

    def __init__(self, diagonal: Tensor):
        if diagonal.ndim != 1:
            raise ValueError(f"Diagonal needs a vector (n,); got shape {tuple(diagonal.shape)}.")
        self.diagonal = diagonal
        self.shape = (diagonal.shape[0], diagonal.shape[0])
        self.dtype, self.device = diagonal.dtype, diagonal.device

    @cached_property
    def structure(self) -> Structure:  # type: ignore[override]
        return Structure.POSITIVE_SEMIDEFINITE if bool((self.diagonal >= 0).all()) else Structure.SYMMETRIC

    def _matmat(self, X: Tensor) -> Tensor:
        return self.diagonal[:, None] * X

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self._matmat(Y)


class Sum(LinearOperator):
    """A + B, of the structure that both have; A + Aᵀ is symmetric."""

    def __init__(self, first: LinearOperator, second: LinearOperator):
        if first.shape != second.shape:
            raise ValueError(f"cannot add operators of shapes {first.shape} and {second.shape}.")
        self.first, self.second = first, second
        self.shape, self.dtype, self.device = first.shape, first.dtype, first.device

    @property
    def structure(self) -> Structure:  # type: ignore[override]
        common = min(self.first.structure, self.second.structure)
        return max(common, Structure.SYMMETRIC) if _adjoint(self.first, self.second) else common

    def _matmat(self, X: Tensor) -> Tensor:
        return self.first._matmat(X) + self.second._matmat(X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self.first._rmatmat(Y) + self.second._rmatmat(Y)


class Product(LinearOperator):
    """A B: first B, then A. BᵀMB has the structure of M, and AᵀA, AAᵀ are positive semidefinite."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator):
        if outer.shape[1] != inner.shape[0]:
            raise ValueError(f"cannot compose operators of shapes {outer.shape} and {inner.shape}.")
        self.outer, self.inner = outer, inner
        self.shape = (outer.shape[0], inner.shape[1])
        self.dtype, self.device = inner.dtype, inner.device

    @cached_property
    def structure(self) -> Structure:  # type: ignore[override]
        factors = [*_factors(self.outer), *_factors(self.inner)]
        while len(factors) > 1 and _adjoint(factors[0], factors[-1]):
            factors = factors[1:-1]
        if not factors:
            return Structure.POSITIVE_SEMIDEFINITE
        return factors[0].structure if len(factors) == 1 else Structure.GENERAL

    def _matmat(self, X: Tensor) -> Tensor:
        return self.outer._matmat(self.inner._matmat(X))

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self.inner._rmatmat(self.outer._rmatmat(Y))


class Scaled(LinearOperator):
    """c A for a number c; of the structure of A, but for the sign."""

    def __init__(self, operator: LinearOperator, scalar: float):
        self.operator, self.scalar = operator, scalar
        self.shape, self.dtype, self.device = operator.shape, operator.dtype, operator.device

    @property
    def structure(self) -> Structure:  # type: ignore[override]
        return self.operator.structure if self.scalar >= 0 else min(self.operator.structure, Structure.SYMMETRIC)

    def _matmat(self, X: Tensor) -> Tensor:
        return self.scalar * self.operator._matmat(X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self.scalar * self.operator._rmatmat(Y)


class Transposed(LinearOperator):
    """Aᵀ."""

    def __init__(self, operator: LinearOperator):
        self.operator = operator
        self.shape = (operator.shape[1], operator.shape[0])
        self.dtype, self.device = operator.dtype, operator.device

    @property
    def structure(self) -> Structure:  # type: ignore[override]
        return self.operator.structure

    @property
    def T(self) -> LinearOperator:
        return self.operator

    def _matmat(self, X: Tensor) -> Tensor:
        return self.operator._rmatmat(X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self.operator._matmat(Y)


class Sliced(LinearOperator):
    """A[rows, columns]: pad the input with zeros, apply A, keep the rows. A[I, I] has the structure of A."""

    def __init__(self, operator: LinearOperator, rows: slice, columns: slice):
        m, n = operator.shape
        self.operator = operator
        self.rows, self.columns = rows.indices(m), columns.indices(n)
        self.shape = (len(range(*self.rows)), len(range(*self.columns)))
        self.dtype, self.device = operator.dtype, operator.device

    @property
    def structure(self) -> Structure:  # type: ignore[override]
        return self.operator.structure if self.rows == self.columns else Structure.GENERAL

    def _matmat(self, X: Tensor) -> Tensor:
        padded = _scatter(X, self.columns, self.operator.shape[1])
        return self.operator._matmat(padded)[_index(self.rows, X.device)]

    def _rmatmat(self, Y: Tensor) -> Tensor:
        padded = _scatter(Y, self.rows, self.operator.shape[0])
        return self.operator._rmatmat(padded)[_index(self.columns, Y.device)]


def _factors(A: LinearOperator) -> list[LinearOperator]:
    return [*_factors(A.outer), *_factors(A.inner)] if isinstance(A, Product) else [A]


def _adjoint(A: LinearOperator, B: LinearOperator) -> bool:
    """Whether A and B are one operator and its transpose."""
    return A.T is B or B.T is A


def _equal(A: Tensor, B: Tensor) -> bool:
    return A.shape == B.shape and A.device.type != "meta" and torch.equal(A, B)


def _index(indices: tuple[int, int, int], device: torch.device) -> Tensor:
    return torch.tensor(range(*indices), dtype=torch.int64, device=device)  # arange refuses an empty range


def _scatter(X: Tensor, indices: tuple[int, int, int], length: int) -> Tensor:
    return X.new_zeros(length, X.shape[1]).index_copy(0, _index(indices, X.device), X)
