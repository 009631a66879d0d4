"""Do updates of one task point the same way, and what do they do to W₀?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import sqrt
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import torch

from lab.geometry import amplification, subspace_angles, subspace_similarity
from lab.geometry.subspace_similarity import Side
from lab.linalg import Spectrum
from lab.models import PLM
from lab.models.architecture import WeightMatrix
from lab.runs.record import Scalar
from lab.statistics import Interval, Verdict, pair_interval, stratified_interval
from lab.study import Budget, Experiment, Finding, Lab, Result, Solution, TrainingRun, setting
from lab.study.training_run import solutions

ROLES = ("query", "value")
SIDES: dict[Side, str] = {"right": "inputs", "left": "outputs"}
LADDER = (1, 2, 4, 8, 16, 32, 64)
"""j of the grids against a spectrum longer than r."""
SEEDS, RANKS, BASE, METHODS, BLOCKS = (
    "seed against seed", "rank against rank", "ΔW against W₀", "LoRA against full", "block against next block",
)  # fmt: skip
PLACE = ["comparison", "side", "role", "block"]

Spectra = Mapping[str, Spectrum]
"""Label of a matrix -> a spectrum with vectors."""


@dataclass(frozen=True, kw_only=True)
class Subspaces(Budget):
    """One PLM; its runs are those of `weight_differences` where these agree."""

    rank: int = setting("r of the LoRA runs", 8, low=1, keyed=True)
    large_rank: int = setting("r of the one it is compared with", 64, low=1, keyed=True)
    seeds: tuple[int, ...] = setting("of the LoRA runs; full fine-tuning has the first", (0, 1, 2), low=0, keyed=True)
    full_lr: float = setting("step size of full fine-tuning", 1e-4, keyed=True)
    lora_lr: float | None = setting("step size of LoRA; none: by the rule for d and D", None, keyed=True)
    max_blocks: int | None = setting("blocks to look at, neighbours in pairs; none: all", None, low=2, keyed=True)

    def lora(self, rank: int, seed: int) -> TrainingRun:
        return self.child(method={"method": "lora", "rank": rank}, seed=seed, lr=self.lora_lr)

    @property
    def runs(self) -> list[TrainingRun]:
        """LoRA over seeds, the large rank with a seed of its own (nothing drawn alike), full fine-tuning."""
        small = [self.lora(self.rank, seed) for seed in self.seeds]
        full = self.child(method={"method": "full"}, seed=self.seeds[0], lr=self.full_lr)
        return [*small, self.lora(self.large_rank, max(self.seeds) + 1), full]

    @property
    def few(self) -> int:
        """r of Hu et al.'s amplification table: 4, or fewer where the update has fewer."""
        return min(4, self.rank)


def measure(c: Subspaces, lab: Lab) -> Result:
    """Train the runs that the store lacks, then compare their leading subspaces matrix by matrix."""
    *small, large, full = solutions(c.runs, lab)
    plm = full.delta.plm
    matrices = studied(plm.matrices(ROLES), c.max_blocks)
    base = {m.label: Spectrum.of(_weight(m, plm), vectors=True) for m in matrices}
    updates = [_spectra(run, base) for run in small]
    wide, dense = _spectra(large, base), _spectra(full, base)
    grids, angles = _compared(matrices, _comparisons(updates, wide, dense, base), c.rank)
    names = [
        *(f"{run.how.title}, seed {run.seed}" for run in c.runs[: len(small)]),
        *(r.how.title for r in c.runs[-2:]),
    ]
    tables = {
        "subspace_similarity": _mean(pd.concat(grids), [*PLACE, "i", "j"]),
        "principal_angles": _mean(pd.concat(angles), [*PLACE, "index"]),
        "amplification": _amplified(c, plm, matrices, base, dict(zip(names, [*updates, wide, dense], strict=True))),
    }
    tables = {name: table.assign(model=c.model, task=c.task) for name, table in tables.items()}
    pairs = pd.concat([g.assign(pair=n // (2 * len(matrices))) for n, g in enumerate(grids)])
    metrics: dict[str, Scalar] = {
        "metric": full.metrics["metric"],
        "score": fmean(float(run.metrics["score"] or 0) for run in small),
        "score_full": full.metrics["score"],
        "tunable": small[0].metrics["tunable"],
        "quantised": str((plm.provenance or {}).get("quantised") or ""),
        **_numbers(pairs, tables, c),
    }
    return Result(metrics, tables)


def studied(matrices: Sequence[WeightMatrix], max_blocks: int | None) -> list[WeightMatrix]:
    """Those of all blocks, or of evenly spaced pairs of neighbouring blocks."""
    blocks = sorted({m.block for m in matrices})
    if max_blocks is None or len(blocks) <= max_blocks:
        return list(matrices)
    first = [blocks[int(i)] for i in np.linspace(0, len(blocks) - 2, max_blocks // 2).round()]
    return [m for m in matrices if m.block in first or m.block - 1 in first]


def _weight(m: WeightMatrix, plm: PLM) -> torch.Tensor:
    return m.of(plm.parameters[m.name]).detach()


def _spectra(run: Solution, base: Spectra) -> dict[str, Spectrum]:
    """Of the update of each compared matrix, with vectors."""
    with torch.no_grad():
        differences = run.delta.weight_difference(run.phi)
    return {label: Spectrum.of(differences[label], vectors=True) for label in base}


def _comparisons(
    small: Sequence[Spectra], large: Spectra, full: Spectra, base: Spectra
) -> Iterator[tuple[str, Spectra, Spectra, bool]]:
    """(name, A, B, whether B is taken one block further)."""
    for A, B in combinations(small, 2):
        yield SEEDS, A, B, False
    yield RANKS, small[0], large, False
    yield BASE, small[0], base, False
    yield METHODS, small[0], full, False
    yield BLOCKS, small[0], small[0], True


def _compared(
    matrices: Sequence[WeightMatrix], comparisons: Iterator[tuple[str, Spectra, Spectra, bool]], rank: int
) -> tuple[list[pd.DataFrame], list[pd.DataFrame]]:
    """Grids φ(i, j) and principal angles of every comparison, matrix and side."""
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


def _amplified(
    c: Subspaces, plm: PLM, matrices: Sequence[WeightMatrix], base: Spectra, updates: Mapping[str, Spectra]
) -> pd.DataFrame:
    """Table 7 of every update and matrix, for Hu et al.'s r and the runs' own."""
    ranks = tuple(sorted({c.few, c.rank, c.large_rank}))
    tables = [
        amplification(spectra[m.label], _weight(m, plm), ranks, base=base[m.label]).assign(
            label=name, matrix=m.label, role=m.role, block=m.block
        )
        for name, spectra in updates.items()
        for m in matrices
    ]
    return pd.concat(tables, ignore_index=True).dropna(subset=["onto_delta"])


def _mean(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Over the pairs of one comparison."""
    table = table.groupby(keys, sort=False, as_index=False).mean(numeric_only=True)
    return table.astype({name: "float32" for name in table.columns if table[name].dtype == np.float64})


def _numbers(pairs: pd.DataFrame, tables: Mapping[str, pd.DataFrame], c: Subspaces) -> dict[str, Scalar]:
    """What the claims are about: overlap over random of every pair of seeds, and the projections of Table 7."""
    found: dict[str, Scalar] = {}
    seeds = pairs[pairs["comparison"] == SEEDS]
    for side in SIDES.values():
        for k in (1, c.rank):
            at = seeds[(seeds["side"] == side) & (seeds["i"] == k) & (seeds["j"] == k)]
            ratio = at["similarity"] / at["random"]
            for n, value in enumerate(ratio.groupby(at["pair"]).mean()):
                found[f"seeds_{side}_{k}_pair{n}"] = float(value)
    similar = tables["subspace_similarity"]
    first = similar[(similar["comparison"] == RANKS) & (similar["i"] == 1) & (similar["j"] == 1)]
    for which, part in first.groupby("side"):
        found[f"ranks_{which}_1"] = float(part["similarity"].mean())
    table = tables["amplification"]
    for label, part in table[table["rank"] == c.few].groupby("label", sort=False):
        name = str(label).replace("LoRA r = ", "lora").replace(", seed ", "_seed").replace(" ", "_").replace("-", "_")
        found[f"onto_base_{name}"] = float((part["onto_delta"] / part["onto_base"]).mean())
        found[f"onto_random_{name}"] = float((part["onto_delta"] / part["onto_random"]).mean())
        found[f"amplification_{name}"] = float(part["factor"].median())
    return found


def _pairs(n: int) -> list[tuple[int, int]]:
    """The seeds of n pairs in the order of their metrics, n = k(k − 1)/2: (0, 1), (0, 2), …, (1, 2), …"""
    return list(combinations(range(round((1 + sqrt(1 + 8 * n)) / 2)), 2))


def _over_pairs(by_plm: Mapping[str, Sequence[float]]) -> Interval:
    return pair_interval({plm: dict(zip(_pairs(len(v)), v, strict=True)) for plm, v in by_plm.items()})


def claims(found: Sequence[Finding[Subspaces]]) -> list[Verdict]:
    """Hu et al.'s claims on these models; the unit of an interval is a run, within each PLM."""
    where = ", ".join(dict.fromkeys(f"{finding.config.model} on {finding.config.task}" for finding in found))
    runs = f"{where}; LoRA on {' and '.join(ROLES)}"
    c = found[0].config

    def verdict(claim: str, place: str, quantity: str, start: str, threshold: float, side: Any, what: str) -> Verdict:
        by_plm: dict[str, list[float]] = {}
        for finding in found:
            values = [float(value) for name, value in finding.metrics.items() if name.startswith(start)]
            by_plm.setdefault(f"{finding.config.model} {finding.config.task}", []).extend(values)
        return Verdict(
            claim=claim, source=f"Hu et al. 2021, section {place}", quantity=f"{quantity}, mean over matrices [1]",
            measured=_over_pairs(by_plm) if start.startswith("seeds") else stratified_interval(by_plm),
            threshold=threshold, side=side, setting=f"{runs}{what}",
            figure="amplification" if "Table" in place else "subspace_similarity",
        )  # fmt: skip

    shared = [
        verdict(
            f"LoRA of one task with different seeds share their {what} of the {side} beyond random.",
            "7.2, figure 4", f"φ({k}, {k}) over its random level", f"seeds_{side}_{k}_", 1.0, "above",
            "; pairs of seeds, interval over seeds",
        )
        for side in SIDES.values()
        for k, what in ((1, "first direction"), (c.rank, f"first {c.rank} directions"))
    ]  # fmt: skip
    first = [
        verdict(
            f"The first direction of the {side} is the same for a small and a large rank (overlap above ½).",
            "7.2, figure 3", f"φ(1, 1) of r = {c.rank} and r = {c.large_rank}", f"ranks_{side}_1", 0.5, "above", "",
        )
        for side in SIDES.values()
    ]  # fmt: skip
    amplified = [
        verdict(
            "ΔW amplifies directions that are not emphasised in W₀.", "7.3, Table 7",
            "‖UᵀW₀V‖_F for U, V of ΔW over the same for U, V of W₀", f"onto_base_lora{c.rank}_seed", 0.5, "below",
            "; seeds",
        ),
        verdict(
            "ΔW lies along W₀ more than random directions do.", "7.3, Table 7",
            "‖UᵀW₀V‖_F for U, V of ΔW over its random level", f"onto_random_lora{c.rank}_seed", 1.0, "above", "; seeds",
        ),
    ]  # fmt: skip
    return [*shared, *first, *amplified]


_MINILM = Subspaces(
    model="minilm", task="bbc-news", steps=60, n_train=None, n_validation=300, max_length=32, batch_size=16
)
_PAPER = replace(_MINILM, steps=1000, n_validation=None, max_length=128, batch_size=32, seeds=(0, 1, 2, 3, 4))

EXPERIMENT = Experiment(
    name="subspace_similarity",
    question="which directions do updates of other seeds, ranks and methods share, and does ΔW amplify what W₀ lacks?",
    source="Hu et al. 2021, section 7: figures 3 and 4 (subspace similarity) and Table 7 (amplification).",
    varied="what is compared: seeds, ranks 8 and 64, ΔW and W₀, neighbouring blocks, LoRA and full fine-tuning; the "
    "side (inputs: right singular vectors, outputs: left ones).",
    tuned="full fine-tuning's step size on MiniLM (docs/intrinsic_dimension.md); LoRA's by the rule for d and D (2e-3 "
    "on SmolLM2, not tuned).",
    fixed="PLM, task, steps, batch size; query and value matrices (of SmolLM2: of six blocks, neighbours in pairs).",
    expected="seeds share their first directions far beyond random, later ones less; r = 8 and r = 64 share the first; "
    "ΔW lies along weak directions of W₀, yet more than at random.",
    cost="demo: 2 minutes (MiniLM) and 4 minutes (SmolLM2) on two cores. smoke: seconds.",
    view="optimisation",
    config=Subspaces,
    scales={
        "smoke": Subspaces(
            model="tiny-bert", task="bbc-news", steps=3, n_train=64, n_validation=32, max_length=16, batch_size=8,
            rank=2, large_rank=4, seeds=(0, 1),
        ),
        "demo": (
            _MINILM,
            replace(
                _MINILM, model="smollm2", n_validation=100, max_length=24, batch_size=8, lora_lr=2e-3, max_blocks=6
            ),
        ),
        "paper": (_PAPER, replace(_PAPER, model="smollm2", task="rotten-tomatoes", max_length=64)),
    },
    measure=measure,
    figures=("subspace_similarity", "principal_angles", "amplification"),
    claims=claims,
    replicates=("model", "task", "batch_size", "max_length", "n_validation", "max_blocks", "lora_lr"),
)  # fmt: skip
