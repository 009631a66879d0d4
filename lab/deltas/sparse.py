"""θ ↦ θ + scatter(φ): a fixed set of single coordinates moves."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lab.deltas.delta import Delta
from lab.linalg import Layout, Part
from lab.models import PLM


class SparseUpdate(Delta):
    """φ ∈ R^k ↦ θ with φ added at k chosen coordinates, φ₀ = 0.

    Args:
        plm: the PLM.
        names: the parameters that are numbered through, in this order.
        indices: (k,) distinct ascending positions in their concatenation.

    Raises:
        ValueError: positions are not ascending, or out of range.
    """

    def __init__(self, plm: PLM, names: Iterable[str], indices: Tensor):
        whole = plm.layout_of(names)
        ascending = indices.ndim == 1 and len(indices) > 0 and bool((indices.diff() > 0).all())
        if not ascending or indices[0] < 0 or indices[-1] >= whole.size:
            raise ValueError(f"indices must be distinct, ascending and in 0..{whole.size - 1}; got {indices}.")
        self.plm = plm
        self.positions: dict[str, Tensor] = {}
        parts = []
        for part in whole:
            bounds = whole.slices[part.name]
            first, last = torch.searchsorted(indices, indices.new_tensor([bounds.start, bounds.stop])).tolist()
            if last > first:
                self.positions[part.name] = indices[first:last] - bounds.start
                parts.append(Part(part.name, (last - first,), part.block))
        self.layout = Layout(tuple(parts))
        self.phi0 = torch.zeros(self.layout.size, dtype=plm.dtype, device=plm.device)
        self.at_identity = True
        self.head_size = sum(part.size for part in parts if part.name in plm.new_names)

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        changed = {}
        for name, values in self.layout.unflatten(phi).items():
            theta = self.plm.parameters[name]
            changed[name] = theta.reshape(-1).index_add(0, self.positions[name], values).reshape(theta.shape)
        return changed
