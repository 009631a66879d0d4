"""Members of a collection as peft adapters."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import torch

from lab.checkpoints.adapter_folder import BASE
from lab.checkpoints.adapter_folder import write_adapter as write_folder
from lab.deltas.lora_checkpoint import lora_config
from lab.geometry.collections.collection import Collection
from lab.linalg import Spectrum
from lab.models.positions import positions


@dataclass(frozen=True)
class WrittenAdapter:
    """An adapter folder, and what it cost.

    Attributes:
        folder: where it is.
        rank: largest rank of its matrices.
        size: numbers in its factors.
        relative_error: ‖ΔW − BA‖_F/‖ΔW‖_F over all matrices of what was cut off; 0 when no rank was given.
    """

    folder: Path
    rank: int
    size: int
    relative_error: float


def write_adapter(
    collection: Collection,
    member: int,
    folder: str | Path,
    *,
    rank: int | None = None,
    dtype: torch.dtype = torch.float32,
    base: str | None = None,
) -> WrittenAdapter:
    """One member as a peft LoRA: of every matrix the balanced factors √Σ of its singular value decomposition.

    Args:
        collection: a reconstruction, a merged change, or any other.
        member: its index.
        folder: new or empty; it appears whole or not at all.
        rank: cut to this rank, at best (Eckart & Young 1936). Default: none is cut off but rounding.
        dtype: of the stored factors.
        base: hub id of the PLM, for whoever loads the adapter by its own name.

    Raises:
        ValueError: a matrix is a part of a parameter (GPT-2's query), which peft cannot express; the change is zero.
        FileExistsError: the folder is not empty.
    """
    partial = [name for name in collection.names if not name.endswith(".weight")]
    if partial:
        raise ValueError(f"peft updates whole weights; {partial[0]!r} is none, so this change has no adapter.")
    tensors, ranks, nonzero = {}, {}, False
    lost = total = 0.0
    for name in collection.names:
        spectrum = Spectrum.of(collection.change(member, name), vectors=True)
        kept = spectrum.rank if rank is None else min(rank, spectrum.rank)
        nonzero = nonzero or kept > 0
        lost += float(spectrum.values[kept:].square().sum()) if rank is not None else 0.0
        total += spectrum.frobenius_norm**2
        # a matrix that does not change gets factors 0 of rank 1: all members adapt the same modules
        module, factors = name.removesuffix(".weight"), spectrum.truncated(max(kept, 1))
        ranks[module] = max(kept, 1)
        tensors[f"{BASE}{module}.lora_A.weight"] = factors.right.to(dtype)
        tensors[f"{BASE}{module}.lora_B.weight"] = factors.left.to(dtype)
    if not nonzero:
        raise ValueError(f"member {collection.members[member].name!r} is zero: an adapter of it would hold nothing.")
    transposed = any(at.transposed for at in positions(list(collection.names)).values())
    config = lora_config(ranks, ranks, base=base, fan_in_fan_out=transposed)  # α = r: s = 1
    written = write_folder(folder, config, tensors)
    size = sum(tensor.numel() for tensor in tensors.values())
    return WrittenAdapter(written, max(ranks.values()), size, sqrt(lost / total))
