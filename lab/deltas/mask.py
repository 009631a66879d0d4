"""Masking (Zhao et al. 2020): W ↦ W ⊙ m with a learned binary mask."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from lab.deltas.delta import Delta
from lab.deltas.method import DeltaMethod
from lab.deltas.roles import present_matrices, require_tuple
from lab.linalg import Layout, Part
from lab.models import PLM
from lab.models.architecture import WeightMatrix


@dataclass(frozen=True)
class Mask(DeltaMethod):
    """W ↦ W ⊙ m, m_ij = 1 where the score s_ij ≥ τ, else 0 (Zhao et al. 2020, section 3.2).

    The step function has derivative 0 almost everywhere, so gradients pass straight through it: ∂m/∂s := 1
    (Bengio et al. 2013). Only which pre-trained weights take part is learned, never their values.

    Attributes:
        targets: roles of the masked matrices. Default: every matrix of attention and feed-forward, as there.
        threshold: τ. Default 0.01, as in their code.
        initial_score: s at φ₀. Default 0.02 = 2τ, their code's scale: no weight is masked, a step of size τ masks one.
        sparsity: when given, the fraction of each matrix that is masked at any φ: τ is then that quantile of its
            scores. Scores start at `initial_score` plus uniform noise of ± `threshold`, and φ₀ is no identity.
    """

    targets: tuple[str, ...] = (
        *("query", "key", "value", "output"),
        *("cross_query", "cross_key", "cross_value", "cross_output"),
        *("gate", "up", "down"),
    )
    threshold: float = 0.01
    initial_score: float = 0.02
    sparsity: float | None = None

    name = "mask"
    family = "specification"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_tuple("Mask", "targets", self.targets)
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise ValueError(f"Mask needs 0 <= sparsity < 1; got {self.sparsity}.")
        if self.sparsity is None and self.initial_score < self.threshold:
            raise ValueError(
                f"Mask starts with every weight masked: initial_score {self.initial_score} is below threshold "
                f"{self.threshold}. Raise it, or give a sparsity."
            )

    def body(self, plm: PLM, seed: int) -> Delta:
        return Masked(plm, present_matrices(plm, self.targets), self, seed)


class Masked(Delta):
    """φ = scores of all masked matrices ↦ {W ⊙ m(φ)}."""

    def __init__(self, plm: PLM, matrices: tuple[WeightMatrix, ...], method: Mask, seed: int):
        self.plm, self.matrices, self.method = plm, matrices, method
        self.layout = Layout(tuple(Part(f"{x.label}.score", x.shape, x.block) for x in matrices))
        self.phi0 = torch.full((self.layout.size,), method.initial_score, dtype=plm.dtype, device=plm.device)
        if method.sparsity is not None:
            generator = torch.Generator().manual_seed(seed)
            for place in self.layout.slices.values():  # matrix by matrix: no second copy of all scores
                noise = 2 * torch.rand(place.stop - place.start, generator=generator, dtype=torch.float64) - 1
                self.phi0[place] += method.threshold * noise.to(dtype=plm.dtype, device=plm.device)
        self.at_identity = not method.sparsity

    @property
    def stored_size(self) -> int:
        """One bit per masked weight, counted as 32-bit numbers."""
        return ceil(self.size / 32)

    def masks(self, phi: Tensor) -> dict[str, Tensor]:
        """Label of the matrix -> m ∈ {0, 1}, shape (m, n); differentiable straight through."""
        scores = self.layout.unflatten(phi)
        return {x.label: self._binary(scores[f"{x.label}.score"]) for x in self.matrices}

    def _binary(self, scores: Tensor) -> Tensor:
        kept = self._kept(scores.detach()).to(scores.dtype)
        return kept + (scores - scores.detach())  # the bracket is exactly 0 and carries the gradient

    def _kept(self, scores: Tensor) -> Tensor:
        if self.method.sparsity is None:
            return scores >= self.method.threshold
        flat = scores.reshape(-1)
        n_masked = round(self.method.sparsity * flat.shape[0])
        rank = flat.argsort(stable=True).argsort()  # ties are broken by position, so the count is exact
        return (rank >= n_masked).reshape(scores.shape)

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        masks = self.masks(phi)
        changed: dict[str, Tensor] = {}
        for matrix in self.matrices:  # several matrices may live in one parameter (GPT-2's c_attn)
            current = changed.get(matrix.name, self.plm.parameters[matrix.name])
            W = matrix.of(self.plm.parameters[matrix.name])
            changed[matrix.name] = matrix.added(current, (masks[matrix.label] - 1) * W)
        return changed
