"""Heuristic specification: the last layers, or modules chosen by pattern or at random."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from lab.deltas.additive import Additive
from lab.deltas.delta import Delta
from lab.deltas.method import DeltaMethod, body_names
from lab.models import PLM


@dataclass(frozen=True)
class LastLayer(DeltaMethod):
    """Only the last blocks move. On encoder-decoders: of the encoder, as in the source text (T5, scale experiment).

    Attributes:
        n_layers: how many of the last blocks. Default 1.
    """

    n_layers: int = 1

    name = "last-layer"
    shown = "last layer"
    family = "specification"

    def body(self, plm: PLM, seed: int) -> Delta:
        blocks = plm.architecture.first_stack(plm.model)
        if not 1 <= self.n_layers <= len(blocks):
            raise ValueError(f"n_layers must be in 1..{len(blocks)} for {plm.name!r}; got {self.n_layers}.")
        chosen = set(blocks[-self.n_layers :])
        return Additive(plm, [part.name for part in plm.layout if part.block in chosen])


@dataclass(frozen=True)
class SelectiveModule(DeltaMethod):
    """Chosen modules move, in full.

    Attributes:
        patterns: shell patterns of module paths ("*attention.self.query"); takes precedence when given.
        n_modules: else this many modules, drawn at random over all blocks (the source text's "selective module").
            Default 4.
        budget: instead of `n_modules`: modules in random order, each that still fits into so many parameters. At the
            budget of another method, where the parameters stand is all that differs.
    """

    patterns: tuple[str, ...] = ()
    n_modules: int = 4
    budget: int | None = None

    name = "selective-module"
    shown = "random modules"
    family = "specification"

    @property
    def title(self) -> str:
        """Whether the modules are drawn or named."""
        return "named modules" if self.patterns else super().title

    def body(self, plm: PLM, seed: int) -> Delta:
        owners = {part.name: part.name.rpartition(".")[0] for part in plm.layout if part.name in set(body_names(plm))}
        in_blocks = [owners[part.name] for part in plm.layout if part.block is not None and part.name in owners]
        if self.patterns:
            modules = {m for m in owners.values() if any(fnmatchcase(m, p) for p in self.patterns)}
            if not modules:
                raise ValueError(f"no module of {plm.name!r} matches {self.patterns}; it has e.g. {in_blocks[:3]}.")
        else:
            candidates = list(dict.fromkeys(in_blocks))
            if self.budget is None and not 1 <= self.n_modules <= len(candidates):
                raise ValueError(f"n_modules must be in 1..{len(candidates)} for {plm.name!r}; got {self.n_modules}.")
            order = torch.randperm(len(candidates), generator=torch.Generator().manual_seed(seed))
            drawn = [candidates[i] for i in order.tolist()]
            modules = set(drawn[: self.n_modules]) if self.budget is None else _fitting(plm, drawn, owners, self.budget)
        return Additive(plm, [name for name, owner in owners.items() if owner in modules])

    def to_json(self) -> dict[str, Any]:
        values = super().to_json()
        if self.budget is None:  # the option came later: without it, the keys of earlier records stay
            del values["budget"]
        return values


def _fitting(plm: PLM, drawn: list[str], owners: dict[str, str], budget: int) -> set[str]:
    """The drawn modules that fit into the budget, first come, first served."""
    sizes = dict.fromkeys(drawn, 0)
    for part in plm.layout:
        if owners.get(part.name) in sizes:
            sizes[owners[part.name]] += part.size
    chosen, room = set(), budget
    for module in drawn:
        if sizes[module] <= room:
            chosen.add(module)
            room -= sizes[module]
    if not chosen:
        raise ValueError(
            f"budget = {budget} is less than any module of {plm.name!r} has; the smallest has "
            f"{min(sizes.values())} parameters."
        )
    return chosen
