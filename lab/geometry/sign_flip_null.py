"""The null in which every entry of a weight difference keeps its size and has a random sign."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd
import torch
from torch import Tensor

from lab.geometry.weight_changes import WeightChanges


def sign_flip_spectra(W: Tensor, *, n_samples: int = 20, generator: torch.Generator | None = None) -> Tensor:
    """Singular values of |W| ⊙ S, with S of independent random signs: (n_samples, min(m, n)), each row descending.

    The dense null of one variance (`spectrum_null`) is exceeded by a matrix whose rows or entries merely differ in
    size, without any common direction: E (|W| ⊙ S)(|W| ⊙ S)ᵀ is diagonal. Here the sizes stay, so what exceeds this
    null is alignment of signs. Where W is known as factors, it is as large as its dense form.

    Args:
        W: (m, n), dense.
        n_samples: draws; each costs a singular value decomposition.
        generator: of the signs.

    Raises:
        ValueError: not a matrix, or no draw.
    """
    if W.ndim != 2 or n_samples < 1:
        raise ValueError(f"expected a matrix and one draw or more; got shape {tuple(W.shape)} and {n_samples} draws.")
    return torch.stack([torch.linalg.svdvals(_flipped(W, generator)) for _ in range(n_samples)])


def random_signs(W: Tensor, *, seed: int = 0) -> Tensor:
    """|W| ⊙ S: one draw of this null, (m, n)."""
    return _flipped(W, torch.Generator(W.device).manual_seed(seed))


def _flipped(W: Tensor, generator: torch.Generator | None) -> Tensor:
    return W * (1 - 2 * torch.randint(0, 2, W.shape, generator=generator, device=W.device).to(W.dtype))


def above_sign_flips(W: Tensor, *, n_samples: int = 20, generator: torch.Generator | None = None) -> tuple[int, float]:
    """How many leading singular values exceed the largest of any draw, and that edge.

    With 20 draws a matrix of this null has a value above the edge once in 21 times.

    Args:
        W, n_samples, generator: of `sign_flip_spectra`.
    """
    edge = float(sign_flip_spectra(W, n_samples=n_samples, generator=generator)[:, 0].max())
    return int((torch.linalg.svdvals(W) > edge).sum()), edge


def sign_flip_table(
    changes: WeightChanges, names: Collection[str], *, n_samples: int = 20, seed: int = 0
) -> pd.DataFrame:
    """Of dense differences the edge of this null, and how many singular values exceed it: matrix, sign_edge,
    n_above_signs.

    Factors are left out: written densely their entries are no independent numbers, and their null is the product's.

    Args:
        changes: of an update.
        names: the matrices to look at, among `changes.names`; each costs n_samples + 1 decompositions.
        n_samples: draws per matrix.
        seed: of the signs.
    """
    rows = []
    for i, name in enumerate(changes.names):
        change = changes.read(name) if name in names else None
        if change is not None and isinstance(change.difference, Tensor):
            generator = torch.Generator(change.difference.device).manual_seed(seed + i)
            W = change.difference.detach().double()
            n_above, edge = above_sign_flips(W, n_samples=n_samples, generator=generator)
            rows.append({"matrix": name, "sign_edge": edge, "n_above_signs": n_above})
    table = pd.DataFrame(rows, columns=["matrix", "sign_edge", "n_above_signs"])
    return table.astype({"matrix": str, "sign_edge": float, "n_above_signs": int})
