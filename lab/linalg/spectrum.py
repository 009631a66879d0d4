"""`Spectrum`: the singular values of a matrix, the floor below which they are rounding noise, and their scalars."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from lab.faces import Facts, faced
from lab.linalg.operator import LowRank
from lab.linalg.powers_of_two import exponent, scaled


def _facts(spectrum: Spectrum) -> Facts:
    return {
        "shape": " × ".join(map(str, spectrum.shape)), "values": len(spectrum.values),
        "largest": float(spectrum.values[0]) if len(spectrum.values) else 0.0,
        "effective rank": spectrum.effective_rank, "stable rank": spectrum.stable_rank,
        "participation ratio": spectrum.participation_ratio,
    }  # fmt: skip


@faced(_facts)
@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values σ_1 ≥ σ_2 ≥ … of an (m, n) matrix.

    Values that vanish by construction may be left out: a product of rank r is stored with r values. Every scalar below
    is unchanged by such zeros, invariant under rotations and (norms apart) under scaling, and 0 for a zero matrix.

    Attributes:
        values: (k,) decreasing, float64, on the CPU; k ≤ min(m, n).
        shape: (m, n).
        left: left singular vectors as columns (m, k), or None when not asked for.
        right: right singular vectors as columns (n, k), or None.

    Example:
        >>> s = Spectrum.of(torch.diag(torch.tensor([2.0, 1.0, 1.0])))
        >>> s.stable_rank, round(s.effective_rank, 4), s.participation_ratio
        (1.5, 2.8284, 2.0)
    """

    values: Tensor
    shape: tuple[int, int]
    left: Tensor | None = None
    right: Tensor | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or len(self.values) > min(self.shape):
            raise ValueError(
                f"a spectrum of a {self.shape} matrix has at most {min(self.shape)} values; got shape "
                f"{tuple(self.values.shape)}."
            )

    @classmethod
    def of(cls, matrix: Tensor | LowRank, *, vectors: bool = False) -> Spectrum:
        """The spectrum of a dense matrix or of a product kept as its factors.

        Dense: LAPACK's divide and conquer in float64, on the matrix's device. Float32, or a Gram matrix, would lose all
        values below 1e-7 or 1e-4 of the largest. LowRank: QR of both factors and the SVD of the r × r core,
        O((m + n) r²); the product is never formed, so nothing is squared or lost.

        Args:
            matrix: (m, n), m or n may be 0.
            vectors: also compute the singular vectors.

        Raises:
            ValueError: not a matrix, an entry is not finite (the message names the first), or float64 does not hold the
                largest singular value of the product.
        """
        if isinstance(matrix, LowRank):
            return _of_factors(matrix, vectors)
        if matrix.ndim != 2:
            raise ValueError(f"a spectrum needs a matrix (m, n); got shape {tuple(matrix.shape)}.")
        require_finite(matrix, "the matrix")
        shape, matrix = (matrix.shape[0], matrix.shape[1]), matrix.detach().to(torch.float64)
        if not vectors and not bool(matrix.any()):  # a frozen matrix: the decomposition of zeros takes as long as any
            return cls(torch.zeros(min(shape), dtype=torch.float64), shape)
        if not vectors:
            return cls(torch.linalg.svdvals(matrix).cpu(), shape)
        U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
        return cls(S.cpu(), shape, U, Vh.T)

    @property
    def spectral_norm(self) -> float:
        """σ_1 = ‖A‖₂."""
        return float(self.values[0]) if len(self.values) else 0.0

    @property
    def frobenius_norm(self) -> float:
        """‖A‖_F = √Σσ²."""
        return self.spectral_norm * float(torch.linalg.vector_norm(self._relative()))

    @property
    def nuclear_norm(self) -> float:
        """Σσ."""
        return float(self.values.sum())

    @property
    def noise_floor(self) -> float:
        """max(m, n)·eps·σ_1 in float64: a computed value below it may be rounding alone (LAPACK Users' Guide, 4.9)."""
        return max(self.shape) * torch.finfo(torch.float64).eps * self.spectral_norm

    @property
    def rank(self) -> int:
        """How many values exceed the noise floor."""
        return int((self.values > self.noise_floor).sum())

    @property
    def stable_rank(self) -> float:
        """‖A‖_F² / ‖A‖₂²."""
        return float(self._relative().square().sum())

    @property
    def effective_rank(self) -> float:
        """exp(−Σ p ln p), p = σ/Σσ (Roy & Vetterli 2007)."""
        relative = self._relative()
        if not bool(relative.any()):
            return 0.0
        p = relative / relative.sum()
        return float(torch.exp(-torch.special.xlogy(p, p).sum()))

    @property
    def participation_ratio(self) -> float:
        """(Σσ²)² / Σσ⁴."""
        energy = self._relative().square()
        return float(energy.sum().square() / energy.square().sum()) if bool(energy.any()) else 0.0

    def energy_rank(self, fraction: float = 0.9) -> int:
        """Least k whose first k values hold `fraction` of Σσ²; 0 for a zero matrix.

        Args:
            fraction: in (0, 1]. Default 0.9, the line also used for intrinsic dimension.
        """
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must lie in (0, 1]; got {fraction}.")
        energy = self._relative().square()
        if not bool(energy.any()):
            return 0
        rest = energy.flip(0).cumsum(0).flip(0)  # Σ_{i ≥ k} σ_i², summed from the small end
        allowed = (1 - fraction) * float(rest[0]) * (1 + 1e-12)  # ten equal values reach 0.9 with nine, not ten
        return int((rest > allowed).sum())

    def _relative(self) -> Tensor:
        """σ/σ_1, free of overflow and underflow when squared; zeros for a zero matrix."""
        return self.values / self.spectral_norm if self.spectral_norm > 0 else torch.zeros_like(self.values)

    def truncated(self, rank: int) -> LowRank:
        """The best approximation of the given rank (Eckart & Young 1936), with √σ in each factor.

        Raises:
            ValueError: the vectors were not computed, or rank is not in 0 … len(values).
        """
        if self.left is None or self.right is None:
            raise ValueError("this spectrum has no singular vectors; build it with vectors=True.")
        if not 0 <= rank <= len(self.values):
            raise ValueError(f"rank must be in 0 … {len(self.values)}; got {rank}.")
        root = self.values[:rank].sqrt().to(self.left)
        return LowRank(self.left[:, :rank] * root, (self.right[:, :rank] * root).T)


def _of_factors(product: LowRank, vectors: bool) -> Spectrum:
    for name, factor in (("the left factor", product.left), ("the right factor", product.right)):
        require_finite(factor, name)
    mode = "reduced" if vectors else "r"
    left, right = product.left.detach().to(torch.float64), product.right.detach().to(torch.float64)
    e_left, e_right = exponent(left), exponent(right)
    QL, RL = torch.linalg.qr(scaled(left, -e_left), mode=mode)
    QR, RR = torch.linalg.qr(scaled(right, -e_right).T, mode=mode)
    core = RL @ RR.T  # L R = 2^(e_left + e_right) QL (RL RRᵀ) QRᵀ
    if not vectors:
        return Spectrum(_in_range(torch.linalg.svdvals(core).cpu(), e_left + e_right), product.shape)
    U, S, Vh = torch.linalg.svd(core, full_matrices=False)
    return Spectrum(_in_range(S.cpu(), e_left + e_right), product.shape, QL @ U, QR @ Vh.T)


def _in_range(values: Tensor, e: int) -> Tensor:
    """2^e·σ, where float64 holds σ_1; smaller ones may vanish beside it."""
    found = scaled(values, e)
    if len(values) and bool(values[0] > 0) and not torch.finfo(torch.float64).tiny <= float(found[0]) < inf:
        size = exponent(values[:1]) + e
        raise ValueError(
            f"the product's largest singular value is about 2^{size}, no float64; scale its factors first."
        )
    return found


def require_finite(tensor: Tensor, name: str) -> None:
    """Refuse NaN and ±Inf, naming the first by its index (LAPACK turns an Inf into NaN without a word).

    Raises:
        ValueError: an entry is not finite.
    """
    finite = torch.isfinite(tensor)
    if not bool(finite.all()):
        index = tuple(int(i) for i in torch.nonzero(~finite)[0])
        raise ValueError(
            f"{name} has {int((~finite).sum())} non-finite entries of {tensor.numel()}; the first is "
            f"{float(tensor[index])} at index {index}. A spectrum of it would be meaningless."
        )
