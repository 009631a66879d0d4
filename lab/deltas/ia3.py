"""(IA)³ (Liu et al. 2022): keys, values and the feed-forward's hidden units, each scaled by a learned vector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from lab.deltas.delta import Delta
from lab.deltas.method import DeltaMethod
from lab.deltas.roles import present_matrices, require_tuple
from lab.deltas.side_path import Beside, with_scales
from lab.linalg import Layout, Part
from lab.models import PLM
from lab.models.architecture import WeightMatrix

Side = Literal["rows", "columns"]


@dataclass(frozen=True)
class IA3(DeltaMethod):
    """k ↦ l_k ⊙ k, v ↦ l_v ⊙ v, x ↦ l_ff ⊙ x before the down projection; l = 1 at φ₀ (Liu et al. 2022, section 3.3).

    As a change of weights: W_k ↦ diag(l_k)·W_k, b_k ↦ l_k ⊙ b_k, likewise v, and W_down ↦ W_down·diag(l_ff). φ holds
    the vectors themselves, so φ₀ = 1, and d = d_k + d_v + d_ff per block (plus d_k + d_v per cross-attention).

    Attributes:
        outputs: roles whose outputs are scaled. Default keys and values, of cross-attention too, as there.
        inputs: roles whose inputs are scaled. Default the down projection, as there.
    """

    outputs: tuple[str, ...] = ("key", "value", "cross_key", "cross_value")
    inputs: tuple[str, ...] = ("down",)

    name = "ia3"
    shown = "IA3"
    family = "addition"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.outputs or self.inputs):
            raise ValueError("IA3 needs at least one role in outputs or inputs; both are empty.")
        require_tuple("IA3", "outputs", self.outputs)
        require_tuple("IA3", "inputs", self.inputs)

    def body(self, plm: PLM, seed: int) -> Delta:
        chosen: list[tuple[WeightMatrix, Side]] = []
        if self.outputs:
            chosen += [(matrix, "rows") for matrix in present_matrices(plm, self.outputs)]
        if self.inputs:
            chosen += [(matrix, "columns") for matrix in present_matrices(plm, self.inputs)]
        return Rescaled(plm, sorted(chosen, key=lambda pair: pair[0].block))


class Rescaled(Delta):
    """φ = (l_1, l_2, …) ↦ {diag(l_i)·W_i and l_i ⊙ b_i, or W_i·diag(l_i)}, φ₀ = 1; unmerged: activations scaled."""

    def __init__(self, plm: PLM, scaled: list[tuple[WeightMatrix, Side]]):
        self.plm, self.scaled = plm, scaled
        self.layout = Layout(
            tuple(Part(f"{x.label}.{side}", (x.shape[side == "columns"],), x.block) for x, side in scaled)
        )
        self.phi0 = torch.ones(self.layout.size, dtype=plm.dtype, device=plm.device)
        self.at_identity = True
        self.n_added = self.layout.size

    @cached_property
    def unmerged(self) -> Delta:
        sides = {side: [matrix for matrix, own in self.scaled if own == side] for side in ("columns", "rows")}
        host, names = with_scales(self.plm, f"scales_{id(self)}", sides["columns"], sides["rows"])
        return Beside(self, host, {f"{matrix.label}.{side}": names[matrix.label, side] for matrix, side in self.scaled})

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        native = self.plm.parameters
        scales = self.layout.unflatten(phi)
        changed: dict[str, Tensor] = {}
        for matrix, side in self.scaled:  # several matrices may live in one parameter (GPT-2's c_attn)
            change = scales[f"{matrix.label}.{side}"] - 1
            W = matrix.of(native[matrix.name])
            delta_w = change[:, None] * W if side == "rows" else W * change
            changed[matrix.name] = matrix.added(changed.get(matrix.name, native[matrix.name]), delta_w)
            bias = matrix.name.removesuffix("weight") + "bias"
            if side == "rows" and bias in native:
                widened = matrix.rows.placed(change) if matrix.rows else change
                changed[bias] = changed.get(bias, native[bias]) + widened * native[bias]
        return changed
