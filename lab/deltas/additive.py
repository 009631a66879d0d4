"""θ_n ↦ θ_n + φ_n for chosen parameters: full fine-tuning, BitFit, selected layers, heads, and every graft."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lab.deltas.delta import Delta, WeightDifference, as_matrices
from lab.deltas.row_lookup import LARGE, InSubspace, tables
from lab.linalg import LinearOperator
from lab.models import PLM, Graft, graft
from lab.projections.projection import Projection


class Additive(Delta):
    """φ ↦ {n: θ_n + φ_n for the chosen names}, φ₀ = 0.

    Args:
        plm: the host.
        names: parameters to change, native or grafted.
        at_identity: False for grafts that change the logits even at φ₀ (prefix, prompt).
    """

    def __init__(self, plm: PLM, names: Iterable[str], *, at_identity: bool = True):
        self.plm = plm
        self.layout = plm.layout_of(names)
        self.phi0 = torch.zeros((), dtype=plm.dtype, device=plm.device).expand(self.layout.size)
        self.at_identity = at_identity
        self.head_size = sum(part.size for part in self.layout if part.name in plm.new_names)
        self.n_added = sum(part.size for part in self.layout if part.name in plm.grafted_names)

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        return self.overrides_of(self.layout.unflatten(phi))

    def overrides_of(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        parameters = self.plm.parameters
        return {name: parameters[name] + change for name, change in parts.items()}

    def restrict(self, P: LinearOperator, origin: Tensor | None = None) -> Delta:
        whole = super().restrict(P, origin)
        if isinstance(P, Projection) and P.has_cheap_rows and origin is None and self.phi0.device.type == "cpu":
            found = tables(self.plm, self.layout)
            return InSubspace(self, P, found) if found or self.layout.size >= LARGE else whole
        return whole

    def weight_difference(self, phi: Tensor) -> WeightDifference:
        return as_matrices(self.plm, self.layout.unflatten(phi))


def grafted(plm: PLM, new: Graft, *, at_identity: bool) -> Additive:
    """a ↦ a₀ + φ_a for every parameter a that a graft adds, on the host that carries it."""
    host = graft(plm, new)
    return Additive(host, host.grafts[-1].parameter_names, at_identity=at_identity)
