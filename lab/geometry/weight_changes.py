"""A change of weights, matrix by matrix, wherever it comes from: a delta, two folders, an adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import nan, sqrt

import torch
from torch import Tensor

from lab.deltas import Delta
from lab.faces import outlined
from lab.linalg import LowRank, Spectrum, require_finite
from lab.models.architecture import WeightMatrix


@outlined
@dataclass(frozen=True, eq=False)
class WeightChange:
    """ΔW of one matrix, and what is known about W₀.

    Attributes:
        name: the parameter's name; with "[role]" where one parameter holds several matrices (GPT-2).
        role: "query", "value", …; "embedding" or "other" outside the blocks.
        block: index of the block; None outside of them.
        difference: ΔW (m, n), rows = outputs, dense or as its factors with the scale in them.
        base: W₀ (m, n); None when it is not at hand.
        storage: how the numbers were stored, e.g. "float32", "bfloat16"; it limits what a dense difference can show.
        transposed: the parameter holds Wᵀ (GPT-2); `difference` and `base` are of W all the same.
    """

    name: str
    role: str
    block: int | None
    difference: Tensor | LowRank
    base: Tensor | None
    storage: str
    transposed: bool = False

    @property
    def factor_rank(self) -> int | None:
        """r of a product kept as factors; None for a dense difference."""
        return self.difference.left.shape[1] if isinstance(self.difference, LowRank) else None

    @property
    def storage_noise(self) -> float:
        """Edge of the rounding noise of a dense difference; 0 for factors, nan without W₀.

        Rounding to a dtype with spacing eps moves an entry w by a deviation of at most eps·|w|/√12, so the noise matrix
        has its largest value near eps/√12·rms(W₀)·(√m + √n).
        """
        m, n = self.difference.shape
        if isinstance(self.difference, LowRank) or not m * n:
            return 0.0
        if self.base is None:
            return nan
        rms = float(torch.linalg.vector_norm(self.base.detach().to(torch.float64))) / sqrt(m * n)
        eps = torch.finfo(getattr(torch, self.storage)).eps
        return eps / sqrt(12) * rms * (sqrt(m) + sqrt(n))


@outlined
@dataclass(frozen=True, eq=False)
class WeightChanges:
    """All changes of one update, read one at a time: two models are never in memory together.

    Attributes:
        names: the matrices, in order of depth.
        read: name -> its change.
        excluded: (name, reason) of what is left out; never silently.
        note: what a reader of any number below must know (a quantised base), or "".
    """

    names: tuple[str, ...]
    read: Callable[[str], WeightChange]
    excluded: tuple[tuple[str, str], ...] = ()
    note: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[WeightChange]:
        return (self.read(name) for name in self.names)

    def watched(self, tell: Callable[[str], None]) -> WeightChanges:
        """The same changes; `tell` is called with the name of each before it is read: a progress bar's hook."""

        def read(name: str) -> WeightChange:
            tell(name)
            return self.read(name)

        return replace(self, read=read)


def squared_norm(difference: Tensor | LowRank) -> float:
    """‖ΔW‖_F², in float64.

    Of factors from the singular values of their product: the sum over LᵀL ∘ RRᵀ loses a ΔW that is small beside its
    parts, such as BA − B₀A₀ of a start that was taken out of W₀.
    """
    if isinstance(difference, LowRank):
        return Spectrum.of(difference).frobenius_norm ** 2
    return float(torch.linalg.vector_norm(difference.detach().to(torch.float64))) ** 2


def native_changes(delta: Delta, phi: Tensor) -> dict[str, Tensor | LowRank]:
    """ΔW of the PLM's own matrices at φ, by their names in `delta.weight_difference`; those of a new head are left out.

    Args:
        delta: any delta.
        phi: (d,).
    """
    new = delta.plm.new_names
    return {name: dw for name, dw in delta.weight_difference(phi).items() if name.split("[")[0] not in new}


def delta_changes(delta: Delta, phi: Tensor) -> WeightChanges:
    """The weight differences of a delta at φ.

    Vectors (biases, norms), grafted parameters (adapters, prefixes) and newly initialised heads have no W₀ to differ
    from and are excluded, with the reason. A head is listed as such.

    Args:
        delta: any delta.
        phi: (d,), finite.

    Raises:
        ValueError: φ has the wrong length or is not finite, or a difference is not.
    """
    if phi.shape != (delta.size,):
        raise ValueError(f"this delta's φ has shape ({delta.size},); got {tuple(phi.shape)}.")
    require_finite(phi, "φ")
    plm = delta.plm
    with torch.no_grad():
        differences = delta.weight_difference(phi.detach())
        changed = delta.overrides(phi.detach())
    matrices = {m.label: m for m in plm.matrices(plm.architecture.roles(plm.model))}
    excluded = [(name, "grafted parameter: no W₀") for name in changed if name in plm.grafted_names]
    excluded += [(n, "vector") for n, t in changed.items() if n not in plm.grafted_names and t.ndim != 2]
    excluded += [(name, "new head: not pre-trained") for name in differences if name in plm.new_names]
    kept = {name: value for name, value in differences.items() if name not in plm.new_names}

    def read(name: str) -> WeightChange:
        matrix, value = matrices.get(name), kept[name]
        if matrix is None:  # an embedding, or another matrix outside of the blocks
            role = "embedding" if name == plm.word_table else "other"
            block = plm.architecture.block_of(plm.model, name)
            return WeightChange(name, role, block, value, plm.parameters[name], storage)
        base = matrix.of(plm.parameters[matrix.name])
        return WeightChange(matrix.label, matrix.role, matrix.block, value, base, storage, matrix.transposed)

    storage = str(plm.dtype).removeprefix("torch.")
    quantised = (plm.provenance or {}).get("quantised")
    note = (
        f"the base was dequantised from {quantised}: differences are against its rounded weights" if quantised else ""
    )
    order = sorted(kept, key=lambda name: _depth(matrices.get(name)))
    return WeightChanges(tuple(order), read, tuple(excluded), note)


def _depth(matrix: WeightMatrix | None) -> int:
    return -1 if matrix is None else matrix.block
