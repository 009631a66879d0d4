"""LoRAs extracted from one delta's change under several rules, each written, read back and scored."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab.deltas import Delta, load_adapter
from lab.geometry.extracted_lora import extract_lora
from lab.geometry.weight_changes import delta_changes
from lab.linalg import Spectrum
from lab.models import PLM

Score = Callable[[PLM, Mapping[str, Tensor]], float]
"""(PLM, changed parameters) -> score."""


def block_matrices(plm: PLM) -> set[str]:
    """Names of the weight matrices of the blocks."""
    return {m.name for m in plm.matrices(plm.architecture.roles(plm.model))}


@torch.no_grad()
def extracted_rows(delta: Delta, phi: Tensor, rules: Mapping[str, Any], score: Score) -> list[dict[str, Any]]:
    """One row per rule: the ranks it chose, what is stored and lost, and the score of the checkpoint on disk.

    Args:
        delta: whose change is made a LoRA; a new head is stored beside it.
        phi: (d,), trained.
        rules: name -> options of `extract_lora`.
        score: of changed parameters.
    """
    plm, changes = delta.plm, delta_changes(delta, phi)
    in_blocks = block_matrices(plm)
    spectra = {
        name: Spectrum.of(changes.read(name).difference, vectors=True) for name in changes.names if name in in_blocks
    }
    head = {name: value for name, value in delta.overrides(phi).items() if name in plm.new_names}
    rows = []
    for rule, options in rules.items():
        made = extract_lora(changes, **options, saved=head, spectra=spectra)
        with tempfile.TemporaryDirectory() as folder:
            read, read_phi = load_adapter(plm, made.write(Path(folder) / "adapter"))
        ranks = made.table["rank"]
        rows.append(
            {"kind": "extracted", "rule": rule, "mean_rank": float(ranks.mean()), "max_rank": int(ranks.max()),
             "stored": made.size, "relative_error": made.relative_error,
             "score": score(read.plm, read.overrides(read_phi))}
        )  # fmt: skip
    return rows
