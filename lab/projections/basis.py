"""A subspace given by an explicit matrix: task PCA, top curvature directions, a trained basis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lab.linalg.operator import LinearOperator


@dataclass(frozen=True, eq=False)
class Basis(LinearOperator):
    """P = a given matrix (D, d), its columns orthonormal or not; applied in the dtype and on the device of the vector.

    Attributes:
        matrix: (D, d), d ≤ D, finite.

    Raises:
        ValueError: if `matrix` is not a finite float matrix with 1 ≤ d ≤ D.

    Example:
        >>> P = Basis(torch.eye(5)[:, :2])
        >>> (P @ torch.tensor([1.0, 2.0])).tolist(), P.orthonormal
        ([1.0, 2.0, 0.0, 0.0, 0.0], True)
    """

    matrix: Tensor

    name: ClassVar[str] = "basis"
    drawn: ClassVar[bool] = False

    def __post_init__(self):
        matrix = self.matrix
        if not isinstance(matrix, Tensor) or matrix.ndim != 2 or not matrix.is_floating_point():
            got = f"{matrix.dtype} of shape {tuple(matrix.shape)}" if isinstance(matrix, Tensor) else repr(type(matrix))
            raise ValueError(f"Basis needs a float tensor (D, d); got {got}.")
        if not 1 <= matrix.shape[1] <= matrix.shape[0]:
            raise ValueError(
                f"Basis needs at least one column and no more columns than rows; got shape {tuple(matrix.shape)}. "
                "Columns are the directions: transpose if they lie in rows."
            )
        if not torch.isfinite(matrix).all():
            raise ValueError("Basis needs finite numbers; got NaN or infinity.")

    @property
    def D(self) -> int:
        return self.matrix.shape[0]

    @property
    def d(self) -> int:
        return self.matrix.shape[1]

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        return (self.D, self.d)

    @property
    def dtype(self) -> torch.dtype:  # type: ignore[override]
        return self.matrix.dtype

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.matrix.device

    @property
    def orthonormal(self) -> bool:
        """‖PᵀP - I‖ within rounding of the matrix's dtype."""
        gram = (self.matrix.T @ self.matrix).double()
        defect = torch.linalg.matrix_norm(gram - torch.eye(self.d, dtype=gram.dtype, device=gram.device))
        return bool(defect <= 10 * self.D * torch.finfo(self.matrix.dtype).eps)

    def orthonormalized(self) -> Basis:
        """The same span with orthonormal columns (QR in float64)."""
        return Basis(torch.linalg.qr(self.matrix.double()).Q.to(self.matrix.dtype))

    def _matmat(self, X: Tensor) -> Tensor:
        return self.matrix.to(X) @ X

    def _rmatmat(self, Y: Tensor) -> Tensor:
        return self.matrix.T.to(Y) @ Y

    def __repr__(self) -> str:
        return f"Basis(D={self.D}, d={self.d}, dtype={self.dtype})"
