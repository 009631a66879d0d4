"""E[ids] + (P x)[rows ids]: an embedding table that moves in a subspace, projected only where a batch reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from typing import cast

import torch
from torch import Tensor, nn

from lab.deltas.delta import Delta, Reparameterized, StreamedForm, TrainingForm
from lab.deltas.side_path import Unmerged, added_to_output
from lab.deltas.streamed import Run, Streamed
from lab.linalg import Layout
from lab.models import PLM, Graft, graft
from lab.models.attention import is_transformed
from lab.projections.projection import Projection

LARGE = 1 << 20
"""Tables of fewer numbers are projected whole: that takes a millisecond or two, as much as finding the rows."""


class RowLookup(nn.Module):
    """(ids, x) ↦ (P x)[rows ids] for a table (rows, width) whose numbers are the image's places start, start + 1, ….

    Args:
        P: the projection of all weights.
        start: place of the table's first number in the image of P.
        table: the embedding, for its shape and padding row, which gets no gradient, as in `nn.Embedding`.
    """

    def __init__(self, P: Projection, start: int, table: nn.Embedding):
        super().__init__()
        self.P, self.start = P, start
        self.shape, self.padding_idx = (table.num_embeddings, table.embedding_dim), table.padding_idx
        self.x = nn.Parameter(table.weight.new_zeros(P.d))

    def forward(self, ids: Tensor) -> Tensor:
        n_rows, width = self.shape
        if is_transformed(ids):  # under vmap over batches which rows are read is not known
            whole = self.P.rows(slice(self.start, self.start + n_rows * width)) @ self.x
            return nn.functional.embedding(ids, whole.view(n_rows, width), self.padding_idx)
        read, position = ids.unique(return_inverse=True)
        places = (self.start + read[:, None] * width + torch.arange(width, device=ids.device)).view(-1)
        rows = (self.P.rows(places) @ self.x).view(-1, width)
        if self.padding_idx is not None:
            rows = torch.where((read == self.padding_idx)[:, None], rows.detach(), rows)
        return nn.functional.embedding(position, rows)


class InSubspace(Reparameterized):
    """x ↦ θ₀ + P x for a sum θ ↦ θ + φ; unmerged, large embedding tables are looked up row by row.

    A table of V rows costs a pass over V·width numbers forward, and a gradient of that size backward, of which a batch
    reads the rows of its own tokens: 3 % of MiniLM's 30,522 in 32 × 32 tokens.

    Args:
        inner: the sum.
        P: the projection, (inner.size, d).
        tables: name of the table's parameter -> paths of the modules that look it up; see `tables`.
    """

    def __init__(self, inner: Delta, P: Projection, tables: Mapping[str, tuple[str, ...]]):
        super().__init__(inner, lambda x: P @ x, inner.phi0.new_zeros(P.d), at_identity=inner.at_identity)
        self.P, self.tables = P, dict(tables)

    @cached_property
    def unmerged(self) -> Delta:
        return LookedUp(self)


class LookedUp(Unmerged):
    """The same map x ↦ logits as an `InSubspace`, on a host whose tables take only the rows read from P x."""

    def __init__(self, subspace: InSubspace):
        label, slices = f"row_lookup_{id(self)}", subspace.inner.layout.slices

        def attach(model: nn.Module) -> None:
            for name, paths in subspace.tables.items():
                for path in paths:
                    table = cast(nn.Embedding, model.get_submodule(path))
                    table.add_module(label, RowLookup(subspace.P, slices[name].start, table))
                    table.register_forward_hook(added_to_output(label))

        plm = subspace.inner.plm
        super().__init__(subspace, graft(plm, Graft(label, attach)) if subspace.tables else plm)
        self.subspace = subspace
        self._coordinates = self.plm.grafts[-1].parameter_names if subspace.tables else ()
        layout, left_out = subspace.inner.layout, set(subspace.tables)
        self._runs = _runs(subspace.P, layout, left_out, cut=False)
        self._pieces = _runs(subspace.P, layout, left_out, cut=True)

    def overrides(self, phi: Tensor) -> dict[str, Tensor]:
        changes: dict[str, Tensor] = {}
        for run in self._runs:
            changes |= run.layout.unflatten(run.rows @ phi)
        return self.subspace.inner.overrides_of(changes) | dict.fromkeys(self._coordinates, phi)

    def training(self) -> TrainingForm:
        """Gradients are projected block by block, as they appear (`lab.deltas.streamed`)."""
        return replace(super().training(), streamed=StreamedForm(self.plm, self._begun))

    def _begun(self, phi: Tensor) -> tuple[dict[str, Tensor], Callable[[], Tensor]]:
        streamed = Streamed(phi, self._pieces, self.subspace.inner.plm.parameters)
        read = phi.detach().requires_grad_(True)  # by the tables

        def gradient() -> Tensor:
            return streamed.gradient() if read.grad is None else streamed.gradient() + read.grad

        return streamed.overrides | dict.fromkeys(self._coordinates, read), gradient


def tables(plm: PLM, layout: Layout) -> dict[str, tuple[str, ...]]:
    """Parameters of a layout that are large embedding tables and nothing else: name -> paths of their modules.

    Tables that also read out (tied with a language-model head), or that do more than look up (Gemma scales), are not.
    """
    found, holders = {}, users(plm)
    for part in layout:
        using = holders[id(plm.parameters[part.name])]
        if part.size >= LARGE and all(type(module) is nn.Embedding for _, module in using):
            found[part.name] = tuple(path for path, _ in using)
    return found


def users(plm: PLM) -> dict[int, list[tuple[str, nn.Module]]]:
    """id of a parameter -> the modules that hold it, with their paths."""
    found: dict[int, list[tuple[str, nn.Module]]] = {}
    for path, module in plm.model.named_modules():
        for parameter in module.parameters(recurse=False):
            found.setdefault(id(parameter), []).append((path, module))
    return found


def _runs(P: Projection, layout: Layout, left_out: set[str], *, cut: bool) -> list[Run]:
    """Runs of neighbouring parts, without some parts; cut where another block begins, if asked for."""
    runs = []
    for (kept, _), parts in groupby(layout, lambda part: (part.name not in left_out, part.block if cut else None)):
        if kept:
            run = Layout(tuple(parts))
            start = layout.slices[run.names[0]].start
            runs.append(Run(run, P.rows(slice(start, start + run.size))))
    return runs
