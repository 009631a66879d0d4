"""W·x + U Z (Vᵀ·x): all weights move in a Kronecker subspace, and no change or gradient of their size is formed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor, nn

from lab.deltas.cores import AddedCore, LinearCore, LookupCore, MergedCore
from lab.deltas.delta import Delta, Reparameterized, StreamedForm, TrainingForm
from lab.deltas.row_lookup import tables, users
from lab.deltas.side_path import Unmerged, added_to_output
from lab.linalg import Part
from lab.models import PLM, Graft, graft
from lab.projections.kronecker import Kronecker

Factors = Mapping[str, tuple[Tensor, Tensor]]
"""Name of a parameter -> U (m, r) and V (n, r)."""


class InFactors(Reparameterized):
    """x ↦ θ₀ + P x for a sum θ ↦ θ + φ and a Kronecker P over its parts; unmerged, layers compute with the factors.

    Args:
        inner: the sum.
        P: of shapes (inner.layout's), (inner.size, d).
    """

    def __init__(self, inner: Delta, P: Kronecker):
        super().__init__(inner, lambda x: P @ x, inner.phi0.new_zeros(P.d), at_identity=inner.at_identity)
        self.P = P

    @cached_property
    def unmerged(self) -> Delta:
        return WithCores(self)


class WithCores(Unmerged):
    """The same map x ↦ logits as an `InFactors`, on a host whose linear layers and large tables hold a core each.

    What is left (vectors, small tables, a tied or a classification head) changes as a whole: θ + U Z Vᵀ, those of one
    shape in one product.
    """

    def __init__(self, subspace: InFactors):
        plm, P, layout = subspace.inner.plm, subspace.P, subspace.inner.layout
        self.subspace = subspace
        self._factors: Factors = {part.name: P.factors(i, subspace.phi0) for i, part in enumerate(layout)}
        self._linear = _linear_layers(plm, self._factors)
        self._tables = tables(plm, layout)
        super().__init__(subspace, self._host(AddedCore, added_to_output))
        whole = [part for part in layout if part.name not in {**self._linear, **self._tables}]
        self._whole = _of_one_shape(whole, self._factors)

    def _host(self, core: type[LinearCore], hook: Callable[[str], Any]) -> PLM:
        """The PLM with a core of this kind beside every linear layer, and one beside every table."""
        label = f"{core.__name__.lower()}_{id(self)}"

        def attach(model: nn.Module) -> None:
            for name, (path, transposed) in self._linear.items():
                layer = model.get_submodule(path)
                layer.add_module(label, core(*self._factors[name], transposed))
                layer.register_forward_hook(hook(label))
            for name, paths in self._tables.items():
                for path in paths:
                    table = cast(nn.Embedding, model.get_submodule(path))
                    table.add_module(label, LookupCore(*self._factors[name], table.padding_idx))
                    table.register_forward_hook(added_to_output(label))

        plm = self.subspace.inner.plm
        return graft(plm, Graft(label, attach)) if self._linear or self._tables else plm

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        return self._of(self.subspace.P.core(phi), self.plm)

    def _of(self, Z: Tensor, host: PLM) -> dict[str, Tensor]:
        """The core of every layer that holds one, and what changes as a whole."""
        changes: dict[str, Tensor] = {}
        for parts, U, V in self._whole:
            moved = (U @ Z @ V.mT).flatten(1)
            changes |= {part.name: row[: part.size].view(part.shape) for part, row in zip(parts, moved, strict=True)}
        cores = host.grafts[-1].parameter_names if host is not self.subspace.inner.plm else ()
        return self.subspace.inner.overrides_of(changes) | dict.fromkeys(cores, Z)

    def training(self) -> TrainingForm:
        """One φ at a time, W + U Z Vᵀ is formed for each layer, and Z's gradient from the factors: a pass less."""
        host = self._host(MergedCore, _seen)
        return replace(super().training(), streamed=StreamedForm(host, partial(self._begun, host)))

    def _begun(self, host: PLM, phi: Tensor) -> tuple[dict[str, Tensor], Callable[[], Tensor]]:
        Z = self.subspace.P.core(phi.detach()).contiguous().requires_grad_(True)
        parameters = self.subspace.inner.plm.parameters
        with torch.no_grad():
            changed = {
                name: torch.addmm(parameters[name], U @ Z, V.T)
                for name, (U, V) in self._factors.items()
                if name in self._linear
            }

        def gradient() -> Tensor:
            return torch.zeros_like(phi) if Z.grad is None else Z.grad.flatten()[: len(phi)]

        return self._of(Z, host) | changed, gradient


def _seen(label: str) -> Any:
    """A forward hook that gives the layer's child of this name the input and the output."""

    def hook(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return layer.get_submodule(label)(args[0], output)

    return hook


def _linear_layers(plm: PLM, names: Iterable[str]) -> dict[str, tuple[str, bool]]:
    """Name of a block matrix's parameter that one layer has to itself -> (its path, whether it holds Wᵀ)."""
    transposed = {matrix.name: matrix.transposed for matrix in plm.matrices(plm.architecture.roles(plm.model))}
    using = users(plm)
    found = {}
    for name in names:
        paths = [path for path, _ in using[id(plm.parameters[name])]]
        if name in transposed and [f"{path}.weight" for path in paths] == [name]:
            found[name] = (paths[0], transposed[name])
    return found


def _of_one_shape(parts: Sequence[Part], factors: Factors) -> list[tuple[list[Part], Tensor, Tensor]]:
    """Parts with U (k, m, r) and V (k, n, r) of k parts at once."""

    def shapes(part: Part) -> tuple[int, int]:
        U, V = factors[part.name]
        return len(U), len(V)

    groups = [list(group) for _, group in groupby(sorted(parts, key=shapes), shapes)]
    return [(group, *_stacked([factors[part.name] for part in group])) for group in groups]


def _stacked(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    first, second = zip(*pairs, strict=True)
    return torch.stack(first), torch.stack(second)
