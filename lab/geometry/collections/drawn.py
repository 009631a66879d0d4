"""Null collections: members with the spectra of the given ones, and row and column spaces drawn at random.

A null is a collection, so everything that is computed of members is computed of nulls.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from lab.geometry.collections.collection import Collection
from lab.linalg import LowRank, Spectrum
from lab.statistics.shared_subspace import BASE, CORES, INPUTS, SPECTRA

Space = Literal["own", "uniform"] | Callable[[str], Tensor]
"""Where singular vectors come from: the member's own space, any subspace alike, or random combinations of the columns
of a given matrix (name of a weight matrix -> its (d, q) columns)."""


def redrawn(collection: Collection, *, left: Space, right: Space, seed: int = 0) -> Collection:
    """ΔW_i = U Σ Vᵀ ↦ Ũ Σ Ṽᵀ with random Ũ and Ṽ, drawn for each member and matrix of their own.

    * ``"own"``: a Haar-random rotation inside the member's own space (of ΔW's columns, or rows).
    * ``"uniform"``: a Haar-random frame.
    * a matrix F (d, q): F·Z with Gaussian Z (q, r), orthonormalised, rotated: a space that r random combinations of
      F's columns span. With a layer's inputs as columns, the rows that a gradient Σ δxᵀ with unrelated δ would have.

    Drawn when read, as a function of seed, member and matrix: nothing is held.

    Args:
        collection: the members; their singular values stay, matrix by matrix.
        left, right: of the outputs, of the inputs.
        seed: of all draws.

    Returns:
        The null; it has the members' names, tasks and types.

    Raises:
        ValueError: when read: a given matrix has another number of rows, or fewer columns than ΔW has directions.
    """

    def read(i: int, name: str) -> LowRank:
        spectrum = Spectrum.of(collection.change(i, name), vectors=True)
        rank = spectrum.rank
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{i}/{name}".encode()))
        U = _frame(spectrum.left, left, name, rank, generator)
        V = _frame(spectrum.right, right, name, rank, generator)
        return LowRank(U * spectrum.values[:rank], V.T)

    return replace(collection, read=read)


def _frame(own: Tensor | None, space: Space, name: str, rank: int, generator: torch.Generator) -> Tensor:
    """(d, rank): a random orthonormal frame."""
    assert own is not None  # built with vectors
    d = own.shape[0]
    if space == "uniform":
        return torch.linalg.qr(_gaussian(d, rank, generator)).Q @ _haar(rank, generator)
    if space == "own":
        return own[:, :rank] @ _haar(rank, generator)
    columns = space(name).to(torch.float64)
    if columns.ndim != 2 or columns.shape[0] != d or columns.shape[1] < rank:
        raise ValueError(
            f"matrix {name!r}: directions are drawn from columns in R^{d}, {rank} of them at least; got a matrix of "
            f"shape {tuple(columns.shape)}."
        )
    return torch.linalg.qr(columns @ _gaussian(columns.shape[1], rank, generator)).Q @ _haar(rank, generator)


def _gaussian(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def _haar(n: int, generator: torch.Generator) -> Tensor:
    """A Haar-distributed orthogonal matrix: Q of a Gaussian, its columns' signs made those of R's diagonal."""
    Q, R = torch.linalg.qr(_gaussian(n, n, generator))
    return Q * torch.sgn(torch.diagonal(R))


def same_spectra(collection: Collection, *, seed: int = 0) -> Collection:
    """ΔW_i ↦ O_iΔW_iQ_i with Haar-random O_i, Q_i for each member and matrix: nothing is shared but the spectra."""
    return redrawn(collection, left="uniform", right="uniform", seed=seed)


def same_spaces(collection: Collection, *, seed: int = 0) -> Collection:
    """Random cores between the members' own row and column spaces: these are shared as they are, ΔW within is not."""
    return redrawn(collection, left="own", right="own", seed=seed)


def from_inputs(collection: Collection, inputs: Callable[[str], Tensor], *, seed: int = 0) -> Collection:
    """Row spaces as unrelated gradients at θ₀ would have them: random combinations of the layer's inputs.

    ∂ℓ/∂W = Σ δxᵀ lies in the span of the inputs x whatever the task is, so their covariance alone makes tasks share
    input directions. Column spaces stay the members' own.

    Args:
        collection: the members.
        inputs: name of a matrix -> columns X (n, q) with X Xᵀ the second moment of its inputs (`input_columns`).
        seed: of the draws.
    """
    return redrawn(collection, left="own", right=inputs, seed=seed)


def from_base(collection: Collection, base: Callable[[str], Tensor], *, seed: int = 0) -> Collection:
    """Directions as W₀ has them: Ũ of random combinations of W₀'s columns, Ṽ of its rows, weighted by W₀'s spectrum.

    Args:
        collection: the members.
        base: name of a matrix -> W₀ (m, n).
        seed: of the draws.
    """
    return redrawn(collection, left=base, right=lambda name: base(name).T, seed=seed)


def nulls_of(
    collection: Collection,
    *,
    base: Callable[[str], Tensor] | None = None,
    inputs: Callable[[str], Tensor] | None = None,
) -> dict[str, Callable[[int], Collection]]:
    """The nulls that can be drawn beside a collection: what the name says is all their members share.

    Args:
        collection: the members.
        base: as for `from_base`; without it, that null is left out.
        inputs: as for `from_inputs`; likewise.

    Returns:
        Name -> seed -> a null collection.
    """
    nulls: dict[str, Callable[[int], Collection]] = {
        SPECTRA: lambda seed: same_spectra(collection, seed=seed),
        CORES: lambda seed: same_spaces(collection, seed=seed),
    }
    if base is not None:
        nulls[BASE] = lambda seed: from_base(collection, base, seed=seed)
    if inputs is not None:
        nulls[INPUTS] = lambda seed: from_inputs(collection, inputs, seed=seed)
    return nulls
