"""θ_n ↦ φ_n: parameters replaced by coordinates of φ itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from torch import Tensor

from lab.deltas.delta import Delta
from lab.models import PLM


class Values(Delta):
    """φ ↦ {n: φ_n for the chosen names}, φ₀ = their values on the host.

    The form of deltas read from a checkpoint: what was stored comes back bit for bit, where `Additive` would round.

    Args:
        plm: the host.
        names: native or grafted parameters.
        at_identity: whether the host at φ₀ has the PLM's own logits.
        transposes: name of a further matrix -> the chosen one whose transpose it is (the factors of a tied head).
    """

    def __init__(
        self,
        plm: PLM,
        names: Iterable[str],
        *,
        at_identity: bool = True,
        transposes: Mapping[str, str] = MappingProxyType({}),
    ):
        self.plm, self.transposes = plm, transposes
        self.layout = plm.layout_of(names)
        self.phi0 = self.layout.flatten({name: plm.parameters[name] for name in self.layout.names}).detach()
        self.phi0 = self.phi0.to(dtype=plm.dtype, device=plm.device)
        self.at_identity = at_identity
        self.head_size = sum(part.size for part in self.layout if part.name in plm.new_names)
        self.n_added = sum(part.size for part in self.layout if part.name in plm.grafted_names)

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        return self.overrides_of(self.layout.unflatten(phi))

    def overrides_of(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**parts, **{name: parts[of].mT for name, of in self.transposes.items() if of in parts}}
