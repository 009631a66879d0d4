"""LoRA (Hu et al. 2021): W ↦ W + s·B·A."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, sqrt
from numbers import Integral

import torch
from torch import Tensor

from lab.deltas.delta import Delta, WeightDifference
from lab.deltas.method import DeltaMethod
from lab.deltas.roles import require_tuple
from lab.deltas.side_path import Beside, with_side_paths
from lab.linalg import Layout, LowRank, Part
from lab.models import PLM
from lab.models.architecture import WeightMatrix


@dataclass(frozen=True)
class LoRA(DeltaMethod):
    """W ↦ W + s·B·A, s = α/r, B = 0 and A random at φ₀ (Hu et al. 2021, eq. 3).

    Attributes:
        rank: r. Default 8, the source text's setting. A tuple gives every matrix a rank of its own, in the order of
            `plm.matrices(targets)` (block by block); 0 leaves a matrix alone.
        alpha: α; None means α = rank, so s = 1 (Hu et al. 2021, section 4.1, set α to the first r they try).
        targets: roles of the matrices to update. Default query and value, the source text's setting.
        rslora: s = α/√r instead (Kalajdzievski 2023).
    """

    rank: int | tuple[int, ...] = 8
    alpha: float | None = None
    targets: tuple[str, ...] = ("query", "value")
    rslora: bool = False

    name = "lora"
    shown = "LoRA"
    sized = (("rank", "r = {}"),)
    family = "reparameterisation"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.rank, tuple):
            if min(self.rank, default=0) < 0 or not any(self.rank):
                raise ValueError(f"LoRA needs ranks >= 0, at least one of them above; got {self.rank}.")
        elif not isinstance(self.rank, Integral):
            raise TypeError(f"LoRA needs a whole rank, or a tuple of them; got {self.rank!r}.")
        elif self.rank < 1:
            raise ValueError(f"LoRA needs rank >= 1; got {self.rank}.")
        if self.alpha is not None and not (isfinite(self.alpha) and self.alpha):
            raise ValueError(f"LoRA needs a finite alpha other than 0, or None for alpha = rank; got {self.alpha}.")
        require_tuple("LoRA", "targets", self.targets)
        if not self.targets:
            raise ValueError('LoRA needs at least one role in targets, e.g. ("query", "value"); it is empty.')

    def scale_of(self, rank: int) -> float:
        """s = α/r, or α/√r, of a matrix of rank r."""
        alpha = rank if self.alpha is None else self.alpha
        return alpha / (sqrt(rank) if self.rslora else rank)

    def body(self, plm: PLM, seed: int) -> Delta:
        matrices = plm.matrices(self.targets)
        ranks = self.rank if isinstance(self.rank, tuple) else (self.rank,) * len(matrices)
        if len(ranks) != len(matrices):
            raise ValueError(
                f"LoRA needs one rank per matrix; got {len(ranks)} ranks for the {len(matrices)} matrices of the roles "
                f"{self.targets} in {plm.name!r}."
            )
        chosen = {m.label: rank for m, rank in zip(matrices, ranks, strict=True) if rank}
        scales = {label: self.scale_of(rank) for label, rank in chosen.items()}
        kept = tuple(m for m in matrices if m.label in chosen)
        return LowRankUpdate(plm, kept, chosen, scales, seed, rslora=self.rslora)


class LowRankUpdate(Delta):
    """φ = (A_1, B_1, A_2, B_2, …) ↦ {W_i + s_i·B_i·A_i}.

    `overrides` forms s·B·A and adds it once (m·n·r multiplications), so frozen and updated layers run the same code, as
    suits evaluation. `unmerged` adds s·B·(A·x) to each layer's output instead, as suits training. Both change no bit at
    B = 0.

    Args:
        plm: the PLM.
        matrices: the matrices W_i.
        ranks: label of the matrix -> r_i.
        scales: label of the matrix -> s_i.
        seed: of the initial A_i.
        rslora: whether the scales came from α/√r; only a checkpoint's configuration tells it from α/r.
    """

    def __init__(
        self,
        plm: PLM,
        matrices: tuple[WeightMatrix, ...],
        ranks: Mapping[str, int],
        scales: Mapping[str, float],
        seed: int,
        *,
        rslora: bool = False,
    ):
        parts = []
        for matrix in matrices:
            (m, n), rank = matrix.shape, ranks[matrix.label]
            if rank > min(m, n):
                raise ValueError(f"rank {rank} exceeds min{matrix.shape} of {matrix.label!r}; choose a smaller rank.")
            parts.append(Part(f"{matrix.label}.lora_A", (rank, n), matrix.block))
            parts.append(Part(f"{matrix.label}.lora_B", (m, rank), matrix.block))
        self.plm, self.matrices, self.ranks, self.scales = plm, matrices, dict(ranks), dict(scales)
        self.rslora = rslora
        self.layout = Layout(tuple(parts))
        self.phi0 = self._initial(seed)
        self.at_identity = True
        self.n_added = self.layout.size

    @cached_property
    def unmerged(self) -> Delta:
        label = f"low_rank_{id(self)}"  # a name of its own, so that several updates can add up
        host, names = with_side_paths(self.plm, label, self.matrices, self.ranks, self.scales)
        factors = [name for matrix in self.matrices for name in names[matrix.label]]
        return Beside(self, host, dict(zip(self.layout.names, factors, strict=True)))

    def _initial(self, seed: int) -> Tensor:
        """A uniform on ±1/√n (Kaiming uniform, a = √5, as in Hu et al.'s code and in peft), B = 0."""
        generator = torch.Generator().manual_seed(seed)
        parts = {}
        for matrix in self.matrices:
            bound = 1 / sqrt(matrix.shape[1])
            A = torch.rand(self.ranks[matrix.label], matrix.shape[1], generator=generator, dtype=torch.float64)
            parts[f"{matrix.label}.lora_A"] = (2 * A - 1) * bound
            parts[f"{matrix.label}.lora_B"] = torch.zeros(matrix.shape[0], A.shape[0], dtype=torch.float64)
        return self.layout.flatten(parts).to(dtype=self.plm.dtype, device=self.plm.device)

    def factors(self, phi: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Label of the matrix -> (B (m, r), A (r, n)), without the scale."""
        parts = self.layout.unflatten(phi)
        return {x.label: (parts[f"{x.label}.lora_B"], parts[f"{x.label}.lora_A"]) for x in self.matrices}

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        return self.overrides_of(self.layout.unflatten(phi))

    def overrides_of(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        changed: dict[str, Tensor] = {}
        for matrix in self.matrices:  # several matrices may live in one parameter (GPT-2's c_attn)
            if f"{matrix.label}.lora_B" not in parts:
                continue
            A, B = parts[f"{matrix.label}.lora_A"], parts[f"{matrix.label}.lora_B"]
            current = changed.get(matrix.name, self.plm.parameters[matrix.name])
            changed[matrix.name] = matrix.added(current, self.scales[matrix.label] * (B @ A))
        return changed

    def weight_difference(self, phi: Tensor) -> WeightDifference:
        return {label: LowRank(self.scales[label] * B, A) for label, (B, A) in self.factors(phi).items()}
