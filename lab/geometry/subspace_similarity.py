"""Do two updates point the same way? Normalised overlap of leading singular subspaces, with its random level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.linalg import LowRank, Spectrum

Side = Literal["left", "right"]


@dataclass(frozen=True, eq=False)
class SubspaceSimilarity:
    """φ(A, B, i, j) on a grid.

    Attributes:
        grid: (I, J); entry [i − 1, j − 1] is φ(A, B, i, j) in [0, 1].
        random: (I, J); its expectation for independent random subspaces, max(i, j)/d.
        side: which singular vectors were compared.
        dimension: d, the length of these vectors.
    """

    grid: NDArray[np.float64]
    random: NDArray[np.float64]
    side: Side
    dimension: int

    def table(self) -> pd.DataFrame:
        """One row per cell: i, j, similarity, random."""
        i, j = np.indices(self.grid.shape)
        return pd.DataFrame(
            {"i": i.ravel() + 1, "j": j.ravel() + 1, "similarity": self.grid.ravel(), "random": self.random.ravel()}
        )


def subspace_similarity(
    A: Tensor | LowRank | Spectrum,
    B: Tensor | LowRank | Spectrum,
    *,
    side: Side = "right",
    max_rank: int | None = None,
) -> SubspaceSimilarity:
    """φ(A, B, i, j) = ‖U_A^{iᵀ} U_B^j‖_F² / min(i, j), U^i the first i singular vectors (Hu et al. 2021, eq. 4).

    1 when one subspace holds the other, 0 when they are orthogonal, max(i, j)/d on average for random ones: a value is
    only interesting against that. The ranks stop where singular values reach the noise floor, as vectors beyond are
    arbitrary; a zero matrix gives an empty grid.

    Args:
        A, B: matrices, products kept as factors, or spectra with vectors, equal in the compared dimension.
        side: "right" (inputs; what Hu et al. compare for A of LoRA) or "left" (outputs).
        max_rank: largest i and j; default all.

    Raises:
        ValueError: unknown side, different dimensions, or a spectrum without vectors.
    """
    if side not in ("left", "right"):
        raise ValueError(f'side must be "left" or "right"; got {side!r}.')
    U, V = leading_vectors(A, side, max_rank), leading_vectors(B, side, max_rank)
    if U.shape[0] != V.shape[0]:
        raise ValueError(
            f"the {side} singular vectors live in R^{U.shape[0]} and R^{V.shape[0]}; compare matrices of one "
            f"{'input' if side == 'right' else 'output'} dimension, or the other side."
        )
    energy = (U.T @ V).square().cumsum(dim=0).cumsum(dim=1)  # [i, j]: Σ over the first i and j of squared overlaps
    i, j = np.indices(tuple(energy.shape)) + 1
    grid = energy.cpu().numpy() / np.minimum(i, j)
    d = U.shape[0]
    return SubspaceSimilarity(np.minimum(grid, 1.0), np.maximum(i, j) / d, side, d)


def leading_vectors(A: Tensor | LowRank | Spectrum, side: Side, max_rank: int | None) -> Tensor:
    """The first singular vectors of one side, (d, k), none beyond the noise floor."""
    spectrum = A if isinstance(A, Spectrum) else Spectrum.of(A, vectors=True)
    vectors = spectrum.left if side == "left" else spectrum.right
    if vectors is None:
        raise ValueError("the spectrum has no singular vectors; build it with Spectrum.of(…, vectors=True).")
    k = spectrum.rank if max_rank is None else min(spectrum.rank, max_rank)
    return vectors[:, :k].to(torch.float64)
