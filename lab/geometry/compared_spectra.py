"""Which directions spectra of the same matrices share, comparison by comparison, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch

from lab.deltas import Delta
from lab.geometry.amplification import amplification
from lab.geometry.subspace_angles import subspace_angles
from lab.geometry.subspace_similarity import Side, subspace_similarity
from lab.linalg import Spectrum
from lab.models import PLM
from lab.models.architecture import WeightMatrix
from lab.runs.record import Scalar

SIDES: dict[Side, str] = {"right": "inputs", "left": "outputs"}
LADDER = (1, 2, 4, 8, 16, 32, 64)
"""j of the grids against a spectrum longer than r."""

PLACE = ["comparison", "side", "role", "block"]
Spectra = Mapping[str, Spectrum]
"""Label of a matrix -> a spectrum with vectors."""


def weight_of(m: WeightMatrix, plm: PLM) -> torch.Tensor:
    """W₀ of a matrix."""
    return m.of(plm.parameters[m.name]).detach()


def update_spectra(delta: Delta, phi: torch.Tensor, base: Spectra) -> dict[str, Spectrum]:
    """Of the update of each compared matrix, with vectors."""
    with torch.no_grad():
        differences = delta.weight_difference(phi)
    return {label: Spectrum.of(differences[label], vectors=True) for label in base}


def compared_spectra(
    matrices: Sequence[WeightMatrix], comparisons: Iterator[tuple[str, Spectra, Spectra, bool]], rank: int
) -> tuple[list[pd.DataFrame], list[pd.DataFrame]]:
    """Grids φ(i, j) and principal angles of every comparison, matrix and side.

    Args:
        matrices: the spectra are of.
        comparisons: (name, A, B, whether B is taken one block further).
        rank: r, the largest i.
    """
    places = {(m.role, m.block): m.label for m in matrices}
    grids, angles = [], []
    for comparison, A, B, shifted in comparisons:
        for (role, block), label in places.items():
            other = places.get((role, block + shifted))
            if other is None:  # no next block
                continue
            for side, name in SIDES.items():
                at: dict[str, Any] = dict(zip(PLACE, (comparison, name, role, block), strict=True))
                grids.append(_grid(A[label], B[other], side, rank).assign(**at))
                angles.append(subspace_angles(A[label], B[other], rank, side=side).assign(**at))
    return grids, angles


def _grid(A: Spectrum, B: Spectrum, side: Side, rank: int) -> pd.DataFrame:
    """φ(i, j), i up to r; j up to r, or on the ladder where B has more directions."""
    longer = len(B.values) > rank and len(B.values) > len(A.values)
    columns = [j for j in LADDER if j <= len(B.values)] if longer else range(1, rank + 1)
    table = subspace_similarity(A, B, side=side, max_rank=max(columns)).table()
    return table[table["j"].isin(columns) & (table["i"] <= rank)]


def amplification_table(
    plm: PLM, matrices: Sequence[WeightMatrix], base: Spectra, updates: Mapping[str, Spectra], ranks: Iterable[int]
) -> pd.DataFrame:
    """Table 7 of Hu et al. 2021 for every update (by label), matrix and r."""
    tables = [
        amplification(spectra[m.label], weight_of(m, plm), tuple(sorted(set(ranks))), base=base[m.label]).assign(
            label=name, matrix=m.label, role=m.role, block=m.block
        )
        for name, spectra in updates.items()
        for m in matrices
    ]
    return pd.concat(tables, ignore_index=True).dropna(subset=["onto_delta"])


def mean_over_pairs(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Over the pairs of one comparison."""
    table = table.groupby(keys, sort=False, as_index=False).mean(numeric_only=True)
    return table.astype({name: "float32" for name in table.columns if table[name].dtype == np.float64})


SEEDS, RANKS, BASE, METHODS, BLOCKS = (
    "seed against seed", "rank against rank", "ΔW against W₀", "LoRA against full", "block against next block",
)  # fmt: skip


def comparisons(
    small: Sequence[Spectra], large: Spectra, full: Spectra, base: Spectra
) -> Iterator[tuple[str, Spectra, Spectra, bool]]:
    """(name, A, B, whether B is taken one block further)."""
    for A, B in combinations(small, 2):
        yield SEEDS, A, B, False
    yield RANKS, small[0], large, False
    yield BASE, small[0], base, False
    yield METHODS, small[0], full, False
    yield BLOCKS, small[0], small[0], True


def similarity_numbers(
    pairs: pd.DataFrame, tables: Mapping[str, pd.DataFrame], rank: int, few: int
) -> dict[str, Scalar]:
    """What the claims are about: overlap over random of every pair of seeds, and the projections of Table 7.

    Args:
        pairs: grids of `compared_spectra`, with `pair`.
        tables: subspace_similarity and amplification.
        rank, few: r of the runs, and of Table 7.
    """
    found: dict[str, Scalar] = {}
    seeds = pairs[pairs["comparison"] == SEEDS]
    for side in SIDES.values():
        for k in (1, rank):
            at = seeds[(seeds["side"] == side) & (seeds["i"] == k) & (seeds["j"] == k)]
            ratio = at["similarity"] / at["random"]
            for n, value in enumerate(ratio.groupby(at["pair"]).mean()):
                found[f"seeds_{side}_{k}_pair{n}"] = float(value)
    similar = tables["subspace_similarity"]
    first = similar[(similar["comparison"] == RANKS) & (similar["i"] == 1) & (similar["j"] == 1)]
    for which, part in first.groupby("side"):
        found[f"ranks_{which}_1"] = float(part["similarity"].mean())
    table = tables["amplification"]
    for label, part in table[table["rank"] == few].groupby("label", sort=False):
        name = str(label).replace("LoRA r = ", "lora").replace(", seed ", "_seed").replace(" ", "_").replace("-", "_")
        found[f"onto_base_{name}"] = float((part["onto_delta"] / part["onto_base"]).mean())
        found[f"onto_random_{name}"] = float((part["onto_delta"] / part["onto_random"]).mean())
        found[f"amplification_{name}"] = float(part["factor"].median())
    return found
