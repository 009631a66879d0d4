"""The Kronecker projection: every matrix of weights moves by U Z Vᵀ, with one small core Z for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt, prod, sqrt
from typing import ClassVar, Self

import torch
from torch import Tensor

from lab.linalg.layout import Layout
from lab.linalg.operator import LinearOperator
from lab.linalg.structure import Structure
from lab.projections import counter
from lab.projections.gaussian import gaussian_rows
from lab.projections.projection import Projection
from lab.projections.threads import one_thread


@dataclass(frozen=True)
class Kronecker(Projection):
    """P x = (U_1 Z V_1ᵀ, U_2 Z V_2ᵀ, …)/√D: in matrix i, P is U_i ⊗ V_i with independent standard Gaussian entries.

    Z (r, r) holds x row by row, r = ⌈√d⌉, and zeros behind it; U_i is (m_i, r), V_i is (n_i, r), each drawn for its
    matrix. So every coordinate moves every matrix, E‖Px‖² = ‖x‖² and E P Pᵀ = (d/D)·I as for a dense Gaussian P, but P
    needs r·Σ(m_i + n_i) numbers instead of D·d, and W x + U Z (Vᵀx) can be computed, and differentiated in Z, without
    anything of the size of W: what LoRA-XS does with singular vectors of W and a core for every matrix (Bałazy et al.
    2024). No entry of P x is Gaussian: it is a sum of products of Gaussians. The change of a matrix has rank r at most.

    Cost: r·D multiplications and r·Σ(m_i + n_i) draws a product. State: none.

    Attributes:
        shapes: (m_i, n_i) of the matrices in the order of the image, as `Kronecker.over` takes them from a layout. ():
            one, the squarest that D numbers fill, without its surplus last places.

    Raises:
        ValueError: for shapes that do not hold D numbers.

    Example:
        >>> P = Kronecker(2000, 10)
        >>> (P @ torch.ones(10)).shape
        torch.Size([2000])
    """

    shapes: tuple[tuple[int, ...], ...] = ()

    name: ClassVar[str] = "kronecker"
    shown: ClassVar[str] = "Kronecker"

    def __post_init__(self):
        super().__post_init__()
        if self.shapes and sum(map(prod, self.shapes)) != self.D:
            raise ValueError(
                f"Kronecker's shapes must hold D = {self.D} numbers; these hold {sum(map(prod, self.shapes))}. "
                "Kronecker.over(layout, d) takes both from a layout."
            )

    @classmethod
    def over(cls, layout: Layout, d: int, *, seed: int = 0) -> Self:
        """With a matrix for every part: its own shape; all dimensions but the last are rows."""
        return cls(layout.size, d, seed, tuple(part.shape for part in layout))

    @property
    def rank(self) -> int:
        """r = ⌈√d⌉."""
        return isqrt(self.d - 1) + 1

    def core(self, x: Tensor) -> Tensor:
        """Z (…, r, r) of coordinates x (…, d)."""
        return torch.nn.functional.pad(x, (0, self.rank**2 - self.d)).unflatten(-1, (self.rank, self.rank))

    def factors(self, i: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """U_i/√D (m_i, r) and V_i (n_i, r), of the dtype and device of `like`."""
        m, n = self._matrices[i]
        key = counter.stream_key(counter.stream_key(self.seed, counter.Stream.PARTS), i)
        streams = (counter.Stream.GAUSSIANS, counter.Stream.POSITIONS)
        U, V = (
            gaussian_rows(counter.stream_key(key, stream), 0, count, self.rank, like)
            for stream, count in zip(streams, (m, n), strict=True)
        )
        return U / sqrt(self.D), V

    def gram(self) -> KroneckerSum:
        """PᵀP = Σ_i U_iᵀU_i ⊗ V_iᵀV_i/D without a product of length D: Σ(m_i + n_i)·r² multiplications.

        Of a vector, folded into a matrix, the places behind its end are none of P's rows: they are taken off again,
        with uuᵀ ⊗ Σvvᵀ for each row u of U that they stand in.
        """
        like, left, right = torch.empty(0, dtype=torch.float64), [], []
        for i, size in enumerate(self._sizes):
            (U, V), (m, n) = self.factors(i, like), self._matrices[i]
            left.append(U.T @ U)
            right.append(V.T @ V)
            for row in range(size // n, m):
                behind = V[max(0, size - row * n) :]
                left.append(-torch.outer(U[row], U[row]))
                right.append(behind.T @ behind)
        return KroneckerSum(torch.stack(left), torch.stack(right), self.d)

    @property
    def _matrices(self) -> Sequence[tuple[int, int]]:
        return [folded(shape) for shape in self.shapes or ((self.D,),)]

    @property
    def _sizes(self) -> list[int]:
        return [prod(shape) for shape in self.shapes or ((self.D,),)]

    def _product(self, X: Tensor) -> Tensor:
        Z, pieces = self.core(X.T), []
        for i, size in enumerate(self._sizes):
            U, V = self.factors(i, X)
            with one_thread():  # a product of another number of threads has other roundings
                pieces.append((U @ Z @ V.T).flatten(1)[:, :size])
        return torch.cat(pieces, 1).T

    def _adjoint_product(self, Y: Tensor) -> Tensor:
        total = Y.new_zeros(Y.shape[1], self.rank, self.rank)
        for i, piece in enumerate(torch.split(Y.T, self._sizes, 1)):
            (U, V), (m, n) = self.factors(i, Y), self._matrices[i]
            with one_thread():
                total += U.T @ torch.nn.functional.pad(piece, (0, m * n - piece.shape[1])).view(-1, m, n) @ V
        return total.flatten(1)[:, : self.d].T


class KroneckerSum(LinearOperator):
    """Σ_i A_i ⊗ B_i of symmetric (r, r) matrices, its first d rows and columns, positive semi-definite as a whole.

    Args:
        A, B: (N, r, r) each.
        d: at most r².
    """

    structure = Structure.POSITIVE_SEMIDEFINITE

    def __init__(self, A: Tensor, B: Tensor, d: int):
        self.A, self.B = A, B
        self.shape, self.dtype, self.device = (d, d), A.dtype, A.device

    def _matmat(self, X: Tensor) -> Tensor:
        """A_iZB_i in place of (A_i ⊗ B_i) vec Z: 2·N·r³ multiplications a column."""
        r = self.A.shape[1]
        Z = torch.nn.functional.pad(X.T, (0, r * r - X.shape[0])).unflatten(-1, (r, r))
        total = torch.zeros_like(Z)
        for A, B in zip(self.A, self.B, strict=True):
            total += A @ Z @ B
        return total.flatten(1)[:, : X.shape[0]].T

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self._matmat(Y)

    def to_dense(self) -> Tensor:
        """One product of (r², N) and (N, r²), with the entries in another order."""
        r, d = self.A.shape[1], self.shape[0]
        pairs = (self.A.flatten(1).T @ self.B.flatten(1)).view(r, r, r, r)  # a, a', b, b'
        return pairs.permute(0, 2, 1, 3).reshape(r * r, r * r)[:d, :d]


def folded(shape: Sequence[int]) -> tuple[int, int]:
    """(m, n) of the matrix that a tensor is taken for: the squarest that holds a vector, else the last dimension is n.

    Example:
        >>> folded((384,)), folded((8, 64, 32))
        ((20, 20), (512, 32))
    """
    if len(shape) > 1:
        return prod(shape[:-1]), shape[-1]
    size = prod(shape)
    rows = isqrt(max(0, size - 1)) + 1
    return rows, -(-size // rows)
