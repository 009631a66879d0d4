"""Diff pruning (Guo et al. 2021): θ ↦ θ + z ⊙ w with learned, nearly binary gates z."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log

import torch
from torch import Tensor

from lab.deltas.delta import Delta
from lab.deltas.method import DeltaMethod, body_names
from lab.deltas.sparse import SparseUpdate
from lab.linalg import Layout, Part
from lab.models import PLM

_LOW, _HIGH = -1.5, 1.5  # the stretched interval (l, r) of the hard-concrete gates; Guo et al. 2021, section 3.1


@dataclass(frozen=True)
class DiffPruning(DeltaMethod):
    """θ ↦ θ + z ⊙ w, w = 0 at φ₀ (Guo et al. 2021, section 3).

    z is the hard-concrete relaxation of a binary mask (Louizos et al. 2018): with a uniform u and a logit α,

        s = σ(ln u − ln(1 − u) + α),  z = min(1, max(0, s·(r − l) + l)),  l = −1.5, r = 1.5.

    `Delta.overrides` uses the deterministic gate (s = σ(α); Louizos et al. 2018, eq. 13); `PrunedDifference.overrides`
    takes the noise u, so a stochastic step is a function of its arguments, and `expected_l0` is the penalty to add to
    the loss. After training, `PrunedDifference.projected` keeps the largest differences only.

    Attributes:
        sparsity: fraction of the pre-trained parameters that may differ at the end. Default 0.005 (their 0.5 %).
        structured: one more gate per parameter tensor, multiplied with the others (their section 3.2).
        log_alpha: α at φ₀. Default 5: gates start open, at z = 1.
    """

    sparsity: float = 0.005
    structured: bool = False
    log_alpha: float = 5.0

    name = "diff-pruning"
    family = "specification"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sparsity <= 1:
            raise ValueError(f"DiffPruning needs 0 < sparsity <= 1; got {self.sparsity}.")

    def body(self, plm: PLM, seed: int) -> Delta:
        return PrunedDifference(plm, body_names(plm), self.sparsity, self.structured, self.log_alpha)


class PrunedDifference(Delta):
    """φ = (w, α) ↦ {θ_n + z(α_n) ⊙ w_n}; with structured gates φ = (w, α, α_groups)."""

    def __init__(self, plm: PLM, names: tuple[str, ...], sparsity: float, structured: bool, log_alpha: float):
        self.plm, self.names, self.sparsity = plm, names, sparsity
        self.differences = plm.layout_of(names)
        gates = [Part(f"{part.name}.gate", part.shape, part.block) for part in self.differences]
        groups = [Part(f"{part.name}.group_gate", (), part.block) for part in self.differences] if structured else []
        self.n_gates = sum(part.size for part in gates) + len(groups)
        self.layout = self.differences + Layout((*gates, *groups))
        self.structured = structured
        self.phi0 = torch.cat(
            [
                torch.zeros(self.differences.size, dtype=plm.dtype, device=plm.device),
                torch.full((self.n_gates,), log_alpha, dtype=plm.dtype, device=plm.device),
            ]
        )
        self.at_identity = True

    @property
    def stored_size(self) -> int:
        """Differences that survive the projection to the target sparsity (their positions come on top)."""
        return ceil(self.sparsity * self.differences.size)

    def difference(self, phi: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        """z ⊙ w by parameter name.

        Args:
            phi: (d,).
            noise: u ∈ (0, 1), shape (n_gates,), one number per gate; None for the deterministic gates.
        """
        w, log_alpha = torch.split(phi, [self.differences.size, self.n_gates])
        z = hard_concrete(log_alpha, noise)
        size = self.differences.size
        changes = self.differences.unflatten(w * z[:size])
        if not self.structured:
            return changes
        return {name: change * z[size + i] for i, (name, change) in enumerate(changes.items())}

    def overrides(self, phi: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        """The changed parameters; with `noise` (see `difference`), those of one stochastic step."""
        return {name: self.plm.parameters[name] + x for name, x in self.difference(phi, noise).items()}

    def noise(self, generator: torch.Generator) -> Tensor:
        """Uniform noise for one stochastic step, bounded away from 0 and 1; shape (n_gates,)."""
        u = torch.rand(self.n_gates, generator=generator, dtype=torch.float64)
        return u.clamp(1e-6, 1 - 1e-6).to(dtype=self.plm.dtype, device=self.plm.device)

    def expected_l0(self, phi: Tensor) -> Tensor:
        """E‖δ‖₀ = Σ P(z ≠ 0), a smooth scalar between 0 and the number of differences (Guo et al. 2021, eq. 3)."""
        _, log_alpha = torch.split(phi, [self.differences.size, self.n_gates])
        open_probability = torch.sigmoid(log_alpha - log(-_LOW / _HIGH))
        size = self.differences.size
        if not self.structured:
            return open_probability.sum()
        sums = [p.sum() for p in self.differences.unflatten(open_probability[:size]).values()]
        return torch.stack(sums) @ open_probability[size:]

    def projected(self, phi: Tensor, sparsity: float | None = None) -> tuple[SparseUpdate, Tensor]:
        """The k = sparsity·D differences of largest magnitude, as a delta of k coordinates and its φ.

        Guo et al. 2021 (section 3.3) then fine-tune these differences with the mask held fixed: fit the delta returned.

        Raises:
            ValueError: sparsity outside (0, 1].
        """
        fraction = self.sparsity if sparsity is None else sparsity
        if not 0 < fraction <= 1:
            raise ValueError(f"sparsity must lie in (0, 1]; got {fraction}.")
        flat = self.differences.flatten(self.difference(phi.detach()))
        k = ceil(fraction * self.differences.size)
        kept = flat.abs().topk(k).indices.sort().values
        return SparseUpdate(self.plm, self.names, kept), flat[kept]


def hard_concrete(log_alpha: Tensor, noise: Tensor | None = None) -> Tensor:
    """Gates z ∈ [0, 1]; exactly 0 and exactly 1 have positive probability (Louizos et al. 2018, section 2.2)."""
    logit = log_alpha if noise is None else noise.log() - (-noise).log1p() + log_alpha
    return (torch.sigmoid(logit) * (_HIGH - _LOW) + _LOW).clamp(0, 1)
