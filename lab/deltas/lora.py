"""LoRA (Hu et al. 2021): W ↦ W + s·B·A."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from lab.deltas.delta import Delta, WeightDifference
from lab.deltas.method import DeltaMethod
from lab.linalg import Layout, LowRank, Part
from lab.models import PLM
from lab.models.architecture import WeightMatrix


@dataclass(frozen=True)
class LoRA(DeltaMethod):
    """W ↦ W + s·B·A, s = α/r, B = 0 and A random at φ₀ (Hu et al. 2021, eq. 3).

    Attributes:
        rank: r. Default 8, the source text's setting.
        alpha: α; None means α = rank, so s = 1 (Hu et al. 2021, section 4.1, set α to the first r they try).
        targets: roles of the matrices to update. Default query and value, the source text's setting.
        rslora: s = α/√r instead (Kalajdzievski 2023).
    """

    rank: int = 8
    alpha: float | None = None
    targets: tuple[str, ...] = ("query", "value")
    rslora: bool = False

    name = "lora"
    family = "reparameterisation"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1:
            raise ValueError(f"LoRA needs rank >= 1; got {self.rank}.")
        if not self.targets or isinstance(self.targets, str):
            raise ValueError(f'LoRA needs targets as a tuple of roles, e.g. ("query", "value"); got {self.targets!r}.')

    @property
    def scale(self) -> float:
        alpha = self.rank if self.alpha is None else self.alpha
        return alpha / (sqrt(self.rank) if self.rslora else self.rank)

    def body(self, plm: PLM, seed: int) -> Delta:
        return LowRankUpdate(plm, plm.matrices(self.targets), self.rank, self.scale, seed)


class LowRankUpdate(Delta):
    """φ = (A_1, B_1, A_2, B_2, …) ↦ {W_i + s·B_i·A_i}.

    The product s·B·A is formed (m·n·r multiplications, small beside the batch's m·n·tokens) and added once, so frozen
    and updated layers run the same code and an update at B = 0 changes no bit.
    """

    def __init__(self, plm: PLM, matrices: tuple[WeightMatrix, ...], rank: int, scale: float, seed: int):
        for matrix in matrices:
            if rank > min(matrix.shape):
                raise ValueError(f"rank {rank} exceeds min{matrix.shape} of {matrix.label!r}; choose a smaller rank.")
        self.plm, self.matrices, self.rank, self.scale = plm, matrices, rank, scale
        parts = []
        for matrix in matrices:
            m, n = matrix.shape
            parts.append(Part(f"{matrix.label}.lora_A", (rank, n), matrix.block))
            parts.append(Part(f"{matrix.label}.lora_B", (m, rank), matrix.block))
        self.layout = Layout(tuple(parts))
        self.phi0 = self._initial(seed)
        self.at_identity = True
        self.n_added = self.layout.size

    def _initial(self, seed: int) -> Tensor:
        """A uniform on ±1/√n (Kaiming uniform, a = √5, as in Hu et al.'s code and in peft), B = 0."""
        generator = torch.Generator().manual_seed(seed)
        parts = {}
        for matrix in self.matrices:
            bound = 1 / sqrt(matrix.shape[1])
            A = torch.rand(self.rank, matrix.shape[1], generator=generator, dtype=torch.float64)
            parts[f"{matrix.label}.lora_A"] = (2 * A - 1) * bound
            parts[f"{matrix.label}.lora_B"] = torch.zeros(matrix.shape[0], self.rank, dtype=torch.float64)
        return self.layout.flatten(parts).to(dtype=self.plm.dtype, device=self.plm.device)

    def factors(self, phi: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Label of the matrix -> (B (m, r), A (r, n)), without the scale."""
        parts = self.layout.unflatten(phi)
        return {x.label: (parts[f"{x.label}.lora_B"], parts[f"{x.label}.lora_A"]) for x in self.matrices}

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        factors = self.factors(phi)
        changed: dict[str, Tensor] = {}
        for matrix in self.matrices:  # several matrices may live in one parameter (GPT-2's c_attn)
            B, A = factors[matrix.label]
            current = changed.get(matrix.name, self.plm.parameters[matrix.name])
            changed[matrix.name] = matrix.added(current, self.scale * (B @ A))
        return changed

    def weight_difference(self, phi: Tensor) -> WeightDifference:
        return {label: LowRank(self.scale * B, A) for label, (B, A) in self.factors(phi).items()}
