"""W ↦ W + ΔW for chosen matrices, ΔW itself as the coordinates: the space that subspaces of weight changes live in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lab.deltas.delta import Delta, WeightDifference
from lab.linalg import Layout, Part
from lab.models import PLM


class MatrixUpdate(Delta):
    """φ = (ΔW_1, ΔW_2, …) ↦ {W_i + ΔW_i}, φ₀ = 0.

    Full fine-tuning of these matrices, with every ΔW (m, n) as `weight_difference` gives it: rows are outputs, a third
    of GPT-2's fused parameter is a matrix of its own. To be restricted to a subspace of such changes.

    Args:
        plm: the host.
        labels: the matrices, in the order of φ.

    Raises:
        ValueError: the PLM has no such matrix in its blocks, or none was named.
    """

    def __init__(self, plm: PLM, labels: Iterable[str]):
        known = {matrix.label: matrix for matrix in plm.matrices(plm.architecture.roles(plm.model))}
        chosen = list(labels)
        unknown = [label for label in chosen if label not in known]
        if unknown or not chosen:
            raise ValueError(
                f"{plm.name!r} has no block matrix {unknown[:3]}; it has e.g. {list(known)[:3]}."
                if chosen
                else "name the matrices that change; got none."
            )
        self.plm, self.at_identity = plm, True
        self.matrices = tuple(known[label] for label in chosen)
        self.layout = Layout(tuple(Part(x.label, x.shape, x.block) for x in self.matrices))
        self.phi0 = torch.zeros((), dtype=plm.dtype, device=plm.device).expand(self.layout.size)

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        return self.overrides_of(self.layout.unflatten(phi))

    def overrides_of(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        changed: dict[str, Tensor] = {}
        for matrix in self.matrices:  # several matrices may live in one parameter (GPT-2's c_attn)
            if matrix.label in parts:
                current = changed.get(matrix.name, self.plm.parameters[matrix.name])
                changed[matrix.name] = matrix.added(current, parts[matrix.label])
        return changed

    def weight_difference(self, phi: Tensor) -> WeightDifference:
        return dict(self.layout.unflatten(phi))
