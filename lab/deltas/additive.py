"""θ_n ↦ θ_n + φ_n for chosen parameters: full fine-tuning, BitFit, selected layers, heads, and every graft."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lab.deltas.delta import Delta, WeightDifference, as_matrices
from lab.deltas.in_factors import InFactors
from lab.deltas.row_lookup import LARGE, InSubspace, tables
from lab.linalg import LinearOperator
from lab.models import PLM, Graft, graft
from lab.models.structure import is_tried
from lab.models.trial import texts_of
from lab.projections.kronecker import Kronecker
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
        if origin is None and isinstance(P, Kronecker) and type(P).over(self.layout, P.d, seed=P.seed) == P:
            return InFactors(self, P)
        if isinstance(P, Projection) and P.has_cheap_rows and origin is None and self.phi0.device.type == "cpu":
            found = tables(self.plm, self.layout)
            return InSubspace(self, P, found) if found or self.layout.size >= LARGE else whole
        return whole

    def weight_difference(self, phi: Tensor) -> WeightDifference:
        return as_matrices(self.plm, self.layout.unflatten(phi))


def grafted(plm: PLM, new: Graft, *, at_identity: bool) -> Additive:
    """a ↦ a₀ + φ_a for every parameter a that a graft adds, on the host that carries it.

    Raises:
        ValueError: the graft has no effect, or breaks the forward pass, in a model of a type that the tests do not try.
    """
    host = graft(plm, new)
    delta = Additive(host, host.grafts[-1].parameter_names, at_identity=at_identity)
    config: Any = plm.model.config
    if not is_tried(config.model_type) and plm.device.type != "meta":
        _require_effect(plm, delta, f"a graft {new.name!r} in a model of type {config.model_type!r}")
    return delta


@torch.no_grad()
def _require_effect(plm: PLM, delta: Additive, what: str) -> None:
    generator = torch.Generator().manual_seed(0)
    phi = 0.1 * torch.randn(delta.size, generator=generator).to(dtype=plm.dtype, device=plm.device)
    batch = texts_of(plm)
    try:
        reason = "" if not torch.equal(delta.logits(phi, batch), delta.logits(delta.phi0, batch)) else "has no effect"
    except Exception as error:  # a model's own code raises what it likes
        reason = f"fails ({type(error).__name__}: {error})"
    if reason:
        raise ValueError(f"{what}, which was taken by its structure, {reason[:300]}; take LoRA(…) or FullFineTuning().")
