"""Diff pruning (Guo et al. 2021): θ ↦ θ + z ⊙ w with learned, nearly binary gates z."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log

import torch
from torch import Tensor

from lab.deltas.delta import Delta, TrainingForm
from lab.deltas.method import DeltaMethod, body_names
from lab.deltas.sparse import SparseUpdate
from lab.linalg import Layout, Part
from lab.models import PLM

_LOW, _HIGH = -1.5, 1.5  # the stretched interval (l, r) of the gates, as in Guo et al.'s code


@dataclass(frozen=True)
class DiffPruning(DeltaMethod):
    """θ ↦ θ + z ⊙ w, w = 0 at φ₀ (Guo et al. 2021, section 3).

    z is the hard-concrete relaxation of a binary mask (Louizos et al. 2018): with u uniform on (0, 1) and a logit α,

        s = σ(ln u − ln(1 − u) + α),  z = min(1, max(0, s·(r − l) + l)),  l = −1.5, r = 1.5.

    A training step takes its noise u as an argument and adds λ·E‖z ⊙ w‖₀ to the loss, and what is stored at the end are
    the largest differences only (`Delta.training`); `lab.training.fit_and_prune` does both stages. `Delta.overrides`
    uses the deterministic gate s = σ(α) (Louizos et al. 2018, eq. 13).

    w is of the order of 1e-3 and α of the order of 1, and AdamW moves every coordinate by about its step size. So φ
    holds α/c with c = `gate_scale`: at a step size of 1e-3 a gate moves by 0.1 a step and can close within a short run.

    Attributes:
        sparsity: fraction of the pre-trained parameters that may differ at the end. Default 0.005 (their 0.5 %).
        structured: one more gate per parameter tensor, multiplied with those of its entries (their section 3.2).
        log_alpha: α at φ₀. Default 5, as in their code: gates start open, at z = 1.
        l0_penalty: λ. Default 1.25e-7 per parameter, as in their code.
        gate_scale: c. Default 100.
    """

    sparsity: float = 0.005
    structured: bool = False
    log_alpha: float = 5.0
    l0_penalty: float = 1.25e-7
    gate_scale: float = 100.0

    name = "diff-pruning"
    shown = "diff pruning"
    family = "specification"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sparsity <= 1:
            raise ValueError(f"DiffPruning needs 0 < sparsity <= 1; got {self.sparsity}.")
        if self.l0_penalty < 0:
            raise ValueError(f"DiffPruning needs l0_penalty >= 0; got {self.l0_penalty}.")
        if not self.gate_scale > 0:
            raise ValueError(f"DiffPruning needs gate_scale > 0; got {self.gate_scale}.")

    def body(self, plm: PLM, seed: int) -> Delta:
        return PrunedDifference(plm, body_names(plm), self)


class PrunedDifference(Delta):
    """φ = (w, α/c) ↦ {θ_n + z(α_n) ⊙ w_n}; with structured gates φ = (w, α/c, α/c of the groups)."""

    def __init__(self, plm: PLM, names: tuple[str, ...], method: DiffPruning):
        self.plm, self.names, self.method = plm, names, method
        self.differences = plm.layout_of(names)
        gates = [Part(f"{part.name}.gate", part.shape, part.block) for part in self.differences]
        groups = [Part(f"{part.name}.group_gate", (), part.block) for part in self.differences]
        self.gates = Layout((*gates, *(groups if method.structured else ())))
        self.layout = self.differences + self.gates
        self.phi0 = torch.zeros(self.layout.size, dtype=plm.dtype, device=plm.device)
        self.phi0[self.differences.size :] = method.log_alpha / method.gate_scale
        self.at_identity = True

    @property
    def stored_size(self) -> int:
        """Differences that survive the projection to the target sparsity (their positions come on top)."""
        return ceil(self.method.sparsity * self.differences.size)

    def _split(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        w, scaled = torch.split(phi, [self.differences.size, self.gates.size])
        return w, self.method.gate_scale * scaled

    def difference(self, phi: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        """z ⊙ w by parameter name; with deterministic gates unless `noise` in (0, 1), one number a gate, is given."""
        w, log_alpha = self._split(phi)
        z = self.gates.unflatten(hard_concrete(log_alpha, noise))
        changes = self.differences.unflatten(w)
        masked = {name: z[f"{name}.gate"] * change for name, change in changes.items()}
        if not self.method.structured:
            return masked
        return {name: z[f"{name}.group_gate"] * change for name, change in masked.items()}

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        return {name: self.plm.parameters[name] + change for name, change in self.difference(phi).items()}

    def sampled(self, phi: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """The overrides of one step, its gates drawn with u = noise."""
        return {name: self.plm.parameters[name] + change for name, change in self.difference(phi, noise).items()}

    def training(self) -> TrainingForm:
        def penalty(phi: Tensor) -> Tensor:
            return self.method.l0_penalty * self.expected_l0(phi)

        return TrainingForm(self.plm, self.sampled, self.noise, self.gates.size, penalty, self.projected)

    def noise(self, seed: int) -> Tensor:
        """u of one step, shape (number of gates,), in (0, 1)."""
        generator = torch.Generator().manual_seed(seed)
        u = torch.rand(self.gates.size, generator=generator, dtype=torch.float64)
        return u.clamp(1e-6, 1 - 1e-6).to(dtype=self.plm.dtype, device=self.plm.device)

    def expected_l0(self, phi: Tensor) -> Tensor:
        """E‖z‖₀ = Σ P(z ≠ 0), a smooth number between 0 and the number of differences (Guo et al. 2021, eq. 3)."""
        _, log_alpha = self._split(phi)
        nonzero = self.gates.unflatten(torch.sigmoid(log_alpha - log(-_LOW / _HIGH)))
        sums = [
            nonzero[f"{name}.gate"].sum() * (nonzero[f"{name}.group_gate"] if self.method.structured else 1)
            for name in self.differences.names
        ]
        return torch.stack(sums).sum()

    def projected(self, phi: Tensor, sparsity: float | None = None) -> tuple[SparseUpdate, Tensor]:
        """The k = sparsity·D differences of largest magnitude, as a delta of k coordinates and its φ.

        Guo et al. 2021 (section 3.3) then fine-tune these differences with the mask held fixed: fit the delta returned.

        Args:
            phi: (d,).
            sparsity: fraction to keep; default the method's.

        Raises:
            ValueError: sparsity outside (0, 1].
        """
        fraction = self.method.sparsity if sparsity is None else sparsity
        if not 0 < fraction <= 1:
            raise ValueError(f"sparsity must lie in (0, 1]; got {fraction}.")
        flat = self.differences.flatten(self.difference(phi.detach()))
        kept = flat.abs().topk(ceil(fraction * len(flat))).indices.sort().values
        return SparseUpdate(self.plm, self.names, kept), flat[kept]


def hard_concrete(log_alpha: Tensor, noise: Tensor | None = None) -> Tensor:
    """Gates z ∈ [0, 1], exactly 0 or 1 with positive probability (Louizos et al. 2018, section 2.2)."""
    logit = log_alpha if noise is None else noise.log() - (-noise).log1p() + log_alpha
    return (torch.sigmoid(logit) * (_HIGH - _LOW) + _LOW).clamp(0, 1)
