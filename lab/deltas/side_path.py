"""x ↦ W·x + s·B·(A·x): low-rank updates beside a layer instead of inside its weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lab.models import PLM, Graft, WeightMatrix, graft


class SidePath(nn.Module):
    """Σ_i s_i·B_i·A_i·x over the matrices of one layer; GPT-2's fused layer holds several, each with its rows."""

    def __init__(self, matrices: Sequence[WeightMatrix], ranks: Sequence[int], scales: Sequence[float], like: Tensor):
        super().__init__()
        self.rows = [matrix.rows for matrix in matrices]
        self.scales = list(scales)
        shapes = [(rank, matrix.shape) for rank, matrix in zip(ranks, matrices, strict=True)]
        self.A = nn.ParameterList(like.new_zeros(rank, n) for rank, (_, n) in shapes)
        self.B = nn.ParameterList(like.new_zeros(m, rank) for rank, (m, _) in shapes)

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for A, B, scale, rows in zip(self.A, self.B, self.scales, self.rows, strict=True):
            y = nn.functional.linear(nn.functional.linear(x, A), scale * B)
            outputs.append(nn.functional.pad(y, (rows[0], rows[2] - rows[1])) if rows else y)
        return torch.stack(outputs).sum(0) if len(outputs) > 1 else outputs[0]


def with_side_paths(
    plm: PLM, label: str, matrices: Sequence[WeightMatrix], ranks: dict[str, int], scales: dict[str, float]
) -> tuple[PLM, dict[str, tuple[str, str]]]:
    """A host whose layers add the low-rank updates of their matrices.

    Returns:
        The host, and label of the matrix -> names of its A and B on the host.
    """
    layers: dict[str, list[WeightMatrix]] = {}
    for matrix in matrices:
        layers.setdefault(matrix.name.removesuffix(".weight"), []).append(matrix)

    def attach(model: nn.Module) -> None:
        for path, own in layers.items():
            layer, like = model.get_submodule(path), plm.parameters[own[0].name]
            side = SidePath(own, [ranks[m.label] for m in own], [scales[m.label] for m in own], like)
            layer.add_module(label, side)
            layer.register_forward_hook(_beside(label))

    names = {
        matrix.label: (f"{path}.{label}.A.{i}", f"{path}.{label}.B.{i}")
        for path, own in layers.items()
        for i, matrix in enumerate(own)
    }
    return graft(plm, Graft(label, attach)), names


def _beside(label: str) -> Any:
    def hook(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output + layer.get_submodule(label)(args[0])

    return hook
