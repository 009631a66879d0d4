"""A weight difference as a LoRA checkpoint that peft reads: the best factors of every matrix, ranks given or chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lab.checkpoints import BASE, write_adapter
from lab.checkpoints.names import aligned
from lab.deltas.lora_checkpoint import lora_config
from lab.faces import outlined
from lab.geometry.extraction import Rule, extract
from lab.geometry.weight_changes import WeightChanges, squared_norm
from lab.linalg import LowRank, Spectrum
from lab.models.layers import Layer

OUTSIDE, NO_LAYER = "outside of the blocks", "no layer that peft can adapt"
NOT_HELD = (OUTSIDE, NO_LAYER)
"""Why a matrix is not held: what `ExtractedLoRA.excluded` says."""


@outlined
@dataclass(frozen=True, eq=False)
class ExtractedLoRA:
    """ΔW ≈ B·A for every matrix that a LoRA is put on, as peft stores it.

    Attributes:
        config: of peft, α = r so that s = 1; a rank and an α per module where ranks differ.
        tensors: key in the file -> factor or stored parameter.
        table: one row per matrix: matrix, role, block, rank, relative_error, cut (`Extraction`), norm (‖ΔW‖_F).
        excluded: (parameter, reason) of the changes that it does not hold.
        outside: ‖ΔW‖_F of the matrices among them.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    table: pd.DataFrame
    excluded: tuple[tuple[str, str], ...]
    outside: float = 0.0

    @property
    def relative_error(self) -> float:
        """√Σ‖ΔW − BA‖_F² / √Σ‖ΔW‖_F² over the matrices that it is put on."""
        total = float((self.table["norm"] ** 2).sum())
        return sqrt(self._lost / total) if total else 0.0

    @property
    def merged_error(self) -> float:
        """The same over all matrices that changed: the error of what comes out when the LoRA is merged."""
        total = float((self.table["norm"] ** 2).sum()) + self.outside**2
        return sqrt((self._lost + self.outside**2) / total) if total else 0.0

    @property
    def _lost(self) -> float:
        return float(((self.table["relative_error"] * self.table["norm"]) ** 2).sum())

    @property
    def size(self) -> int:
        """Numbers in the factors."""
        return sum(tensor.numel() for key, tensor in self.tensors.items() if ".lora_" in key)

    def write(self, folder: str | Path) -> Path:
        """Write the adapter folder, whole or not at all.

        Raises:
            FileExistsError: the folder is not empty.
        """
        return write_adapter(folder, self.config, self.tensors)


def extract_lora(
    changes: WeightChanges,
    *,
    rank: int | None = None,
    energy: float | None = None,
    rule: Rule | None = None,
    max_rank: int | None = None,
    saved: Mapping[str, Tensor] | None = None,
    spectra: Mapping[str, Spectrum] | None = None,
    dtype: torch.dtype = torch.float32,
    base: str | None = None,
    layers: Mapping[str, Layer] | None = None,
) -> ExtractedLoRA:
    """The best LoRA of a difference: of each matrix the truncated SVD (Eckart & Young 1936). See `extract` for ranks.

    Vectors are not held by it, nor matrices that peft has no layer for: they are excluded with a reason, and what that
    costs must be measured beside what the ranks cost. A matrix whose chosen rank is 0 gets no factors.

    Args:
        changes: two folders, a delta, an adapter (to lower its rank).
        rank, energy, rule, max_rank: as in `extract`, for each matrix.
        saved: parameters to store whole beside the factors, such as a new head: name -> value.
        spectra: of the differences, with vectors, where they are at hand: name -> spectrum.
        dtype: of the factors.
        base: name of the model below it, for whoever loads the adapter by its own name.
        layers: module path -> "linear" or "embedding", of what peft can adapt (`lab.models.layers`). None: the matrices
            in the blocks alone.

    Raises:
        ValueError: no such matrix changed, or every chosen rank is 0; a part of a fused parameter (GPT-2's query),
            which peft cannot express; as `extract`.
    """
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    rows, excluded, outside, transposed = [], list(changes.excluded), 0.0, False
    kinds = None if layers is None else _by_name(layers, changes.names)
    for name in changes.names:
        if "[" in name:
            raise ValueError(f"peft updates whole parameters, but only a part of {name.partition('[')[0]!r} changes.")
        change = changes.read(name)
        transposed |= change.transposed
        module = name.removesuffix(".weight")
        layer = kinds.get(name) if kinds is not None else "linear" if change.block is not None else None
        if layer is None:
            lost = squared_norm(change.difference)
            excluded += [(name, OUTSIDE if change.block is None else NO_LAYER)] if lost else []
            outside += lost
            continue
        spectrum = (spectra or {}).get(name) or Spectrum.of(change.difference, vectors=True)
        capped = None if rank is None else min(rank, len(spectrum.values)) if spectrum.spectral_norm else 0
        # the floor without a known storage noise (nan) is the spectrum's own
        floor = max(0.0, change.storage_noise)
        found = extract(spectrum, rank=capped, energy=energy, rule=rule, max_rank=max_rank, floor=floor)
        rows.append(
            {"matrix": name, "role": change.role, "block": change.block, "rank": found.rank,
             "relative_error": found.relative_error, "cut": found.cut, "norm": spectrum.frobenius_norm}
        )  # fmt: skip
        if found.rank:
            ranks[module] = found.rank
            tensors |= {
                f"{BASE}{module}.{key}": value.to(dtype) for key, value in _stored(found.factors, layer).items()
            }
    if not ranks:
        raise ValueError(
            f"nothing to extract: {len(rows)} matrices that peft can adapt changed, and each has rank 0 by this choice."
        )
    saved = saved or {}
    config = lora_config(
        ranks,
        ranks,
        base=base,
        fan_in_fan_out=transposed,
        saved=[name.rpartition(".")[0] for name in saved],
    )
    tensors |= {BASE + name: value for name, value in saved.items()}
    return ExtractedLoRA(config, tensors, pd.DataFrame(rows), tuple(excluded), sqrt(outside))


def _by_name(layers: Mapping[str, Layer], names: Sequence[str]) -> dict[str, Layer]:
    """Name of a matrix -> kind of its layer; a wrapper's prefix ("bert.") may be on one side alone."""
    pairs, _, _ = aligned([f"{path}.weight" for path in layers], names)
    return {name: layers[other.removesuffix(".weight")] for name, other in pairs.items()}


def _stored(factors: LowRank, layer: Layer) -> dict[str, Tensor]:
    """peft's tensors of B·A; of a table (tokens, width) it keeps the transposes."""
    if layer == "embedding":
        return {"lora_embedding_A": factors.left.mT.contiguous(), "lora_embedding_B": factors.right.mT.contiguous()}
    return {"lora_A.weight": factors.right, "lora_B.weight": factors.left}
