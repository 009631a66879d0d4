"""Intrinsic-dimension methods (Aghajanyan et al. 2020): full fine-tuning restricted to a random subspace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

import lab.projections as projections  # its names are looked up when they are used
from lab.deltas.additive import Additive
from lab.deltas.delta import Delta, Reparameterized
from lab.deltas.method import DeltaMethod, HeadTreatment, body_names
from lab.linalg import Layout, LinearOperator
from lab.models import PLM
from lab.projections.projection import Projection


def projection_named(name: str, layout: Layout, d: int, seed: int) -> LinearOperator:
    """The projection of that registry name, R^d -> the flat vector of a layout."""
    return _kind_named(name).over(layout, d, seed=seed)


def _kind_named(name: str) -> type[Projection]:
    by_name = {P.name: P for P in projections.PROJECTIONS if P.drawn}
    if name not in by_name:
        raise ValueError(f"unknown projection {name!r}; choose one of {sorted(by_name)}.")
    return by_name[name]


@dataclass(frozen=True)
class _RandomSubspace(DeltaMethod):
    head: HeadTreatment = field(default="inside", kw_only=True)
    dimension: int = 1000
    projection: str = "fastfood"

    family = "reparameterisation"
    heads = ("inside", "free", "frozen")
    sized = (("dimension", "d = {:,}"),)

    def __post_init__(self) -> None:
        super().__post_init__()
        _kind_named(self.projection)

    @property
    def title(self) -> str:
        """With the projection, where it is another than the default."""
        if self.projection == "fastfood":
            return super().title
        kind = _kind_named(self.projection).shown or self.projection.replace("_", "-")
        return f"{kind} d = {self.dimension:,}" if self.name == "did" else f"{super().title}, {kind}"

    def _full(self, plm: PLM) -> Delta:
        return Additive(plm, plm.layout.names if self.head == "inside" else body_names(plm))


@dataclass(frozen=True)
class DID(_RandomSubspace):
    """θ = θ₀ + P φ (Li et al. 2018, eq. 2; "DID" in Aghajanyan et al. 2020, eq. 1).

    Attributes:
        dimension: d. Default 1000, the order of d90 that Aghajanyan et al. 2020 report for BERT-base on MRPC.
        projection: registry name. Default "fastfood", theirs.
        head: default "inside": P acts on all parameters, the new head included (Li et al. 2018).
    """

    name = "did"
    shown = "Fastfood"

    def body(self, plm: PLM, seed: int) -> Delta:
        full = self._full(plm)
        return full.restrict(projection_named(self.projection, full.layout, self.dimension, seed))


@dataclass(frozen=True)
class SAID(_RandomSubspace):
    """θ_i = θ₀,i + λ_i·(P φ)_i, one scale λ_i per layer i (Aghajanyan et al. 2020, eq. 3).

    The m scales count in d, so φ has d − m coordinates. Layers are the blocks, plus one group for what belongs to no
    block (embeddings, final norm, pooler, and the head when it is inside). λ starts at 1, φ at 0.
    """

    name = "said"
    shown = "SAID"

    def body(self, plm: PLM, seed: int) -> Delta:
        full = self._full(plm)
        groups = list(dict.fromkeys(part.block for part in full.layout))
        m = len(groups)
        if self.dimension <= m:
            raise ValueError(
                f"SAID spends {m} of its dimensions on layer scales; dimension must exceed {m}, got {self.dimension}."
            )
        P = projection_named(self.projection, full.layout, self.dimension - m, seed)
        z0 = torch.cat([full.phi0.new_zeros(self.dimension - m), full.phi0.new_ones(m)])
        # φ = 0 is the PLM itself, whatever λ is: spare a pass over D numbers
        return Reparameterized(full, _layerwise_scaled(P, full.layout, groups), z0, at_identity=full.at_identity)


def _layerwise_scaled(P: LinearOperator, layout: Layout, groups: list[int | None]) -> Callable[[Tensor], Tensor]:
    """z = (φ, λ) ↦ (λ_i·(P φ)_i)_i."""
    sizes = [part.size for part in layout]
    group_of = [groups.index(part.block) for part in layout]

    def embed(z: Tensor) -> Tensor:
        phi, scales = torch.split(z, [P.shape[1], len(groups)])
        pieces = torch.split(P @ phi, sizes)
        scale = scales.unbind()
        return torch.cat([scale[group] * piece for group, piece in zip(group_of, pieces, strict=True)])

    return embed
