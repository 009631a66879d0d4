"""Do updates of one task point the same way, and what do they do to W₀?

Question: which directions do updates of other seeds, ranks and methods share, and does ΔW amplify what W₀ lacks?
Source: Hu et al. 2021, section 7: figures 3 and 4 (subspace similarity) and Table 7 (amplification).
Varied: what is compared: seeds, ranks 8 and 64, ΔW and W₀, neighbouring blocks, LoRA and full fine-tuning; the side
    (inputs: right singular vectors, outputs: left ones).
Tuned: full fine-tuning's step size on MiniLM (docs/intrinsic_dimension.md); LoRA's by the rule for d and D (2e-3 on
    SmolLM2, not tuned).
Fixed: PLM, task, steps, batch size; query and value matrices (of SmolLM2: of six blocks, neighbours in pairs).
Expected: seeds share their first directions far beyond random, later ones less; r = 8 and r = 64 share the first; ΔW
    lies along weak directions of W₀, yet more than at random.
Cost: demo: 2 minutes (MiniLM) and 4 minutes (SmolLM2) on two cores. smoke: seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import torch

from experiments.training_run import RunScale, Solution, child_job, solution
from lab.geometry import amplification, subspace_angles, subspace_similarity
from lab.linalg import Spectrum
from lab.models.architecture import WeightMatrix
from lab.runs import Job, Record, Store
from lab.runs.record import Scalar
from lab.statistics import Verdict, stratified_interval

NAME = "subspace_similarity"
FIGURES = ("subspace_similarity", "principal_angles", "amplification")

ROLES = ("query", "value")
SIDES = {"right": "inputs", "left": "outputs"}
LADDER = (1, 2, 4, 8, 16, 32, 64)
"""j of the grids against a spectrum longer than r."""
SEEDS, RANKS, BASE, METHODS, BLOCKS = (
    "seed against seed", "rank against rank", "ΔW against W₀", "LoRA against full", "block against next block",
)  # fmt: skip


@dataclass(frozen=True)
class Scale(RunScale):
    """Everything a scale fixes; the runs are those of `weight_differences` where these agree."""

    rank: int = 8
    large_rank: int = 64
    seeds: tuple[int, ...] = (0, 1, 2)
    full_lr: float = 1e-4
    lora_lr: float | None = None
    max_blocks: int | None = None


SCALES = {
    "smoke": (Scale("tiny-bert", "bbc-news", 3, 64, 32, 16, 8, rank=2, large_rank=4, seeds=(0, 1)),),
    "demo": (
        Scale("minilm", "bbc-news", 60, None, 300, 32, 16),
        Scale("smollm2", "bbc-news", 60, None, 100, 24, 8, lora_lr=2e-3, max_blocks=6),
    ),
    "paper": (
        Scale("minilm", "bbc-news", 1000, None, None, 128, 32, seeds=(0, 1, 2, 3, 4)),
        Scale("smollm2", "rotten-tomatoes", 1000, None, None, 64, 32, seeds=(0, 1, 2, 3, 4)),
    ),
}


def jobs(scale: str, *, model: str | None = None, task: str | None = None, seed: int = 0) -> list[Job]:
    """One comparison per PLM.

    Args:
        scale: "smoke", "demo" or "paper".
        model: one PLM instead of the scale's.
        task: of every run; default: the scale's.
        seed: shifts all seeds.
    """
    chosen = [s for s in SCALES[scale] if model in (None, s.model)] or [SCALES[scale][0]]
    settings = [replace(s, model=model or s.model, task=task or s.task) for s in chosen]
    return [Job(NAME, asdict(replace(s, seeds=tuple(seed + n for n in s.seeds)))) for s in settings]


def measure(job: Job, store: Store) -> Record:
    """Train the runs that the store lacks, then compare their leading subspaces matrix by matrix."""
    c = job.config
    small = [_solution(c, store, c["rank"], seed) for seed in c["seeds"]]
    large = _solution(c, store, c["large_rank"], max(c["seeds"]) + 1)  # a seed of its own: nothing drawn alike
    full = _solution(c, store, None, c["seeds"][0])
    plm = full.delta.plm
    matrices = _studied(plm.matrices(ROLES), c["max_blocks"])
    weights = {m.label: m.of(plm.parameters[m.name]).detach() for m in matrices}
    places = {m.label: (m.role, m.block) for m in matrices}
    base = {label: Spectrum.of(W, vectors=True) for label, W in weights.items()}
    updates = {f"LoRA r = {c['rank']}, seed {s}": _spectra(r, base) for s, r in zip(c["seeds"], small, strict=True)}
    wide, dense = _spectra(large, base), _spectra(full, base)
    others = {f"LoRA r = {c['large_rank']}": wide, "full fine-tuning": dense}

    grids, angles = [], []
    for comparison, A, B, shifted in _comparisons(list(updates.values()), wide, dense, base):
        for label, (role, block) in places.items():
            other = _next_block(places, label) if shifted else label
            if other is None:
                continue
            for side, name in SIDES.items():
                at: dict[str, Any] = {"comparison": comparison, "side": name, "role": role, "block": block}
                grids.append(_grid(A[label], B[other], side, c["rank"]).assign(**at))
                angles.append(subspace_angles(A[label], B[other], c["rank"], side=side).assign(**at))  # type: ignore[arg-type]
    amplified = [
        amplification(spectra[label], weights[label], _ranks(c), base=base[label]).assign(
            label=name, matrix=label, role=role, block=block
        )
        for name, spectra in (updates | others).items()
        for label, (role, block) in places.items()
    ]
    keys = ["comparison", "side", "role", "block"]
    tables = {
        "subspace_similarity": _mean(pd.concat(grids), [*keys, "i", "j"]),
        "principal_angles": _mean(pd.concat(angles), [*keys, "index"]),
        "amplification": pd.concat(amplified, ignore_index=True).dropna(subset=["onto_delta"]),
    }
    tables = {name: table.assign(model=c["model"], task=c["task"]) for name, table in tables.items()}
    pairs = pd.concat([g.assign(pair=n // (2 * len(places))) for n, g in enumerate(grids)])
    metrics: dict[str, Scalar] = {
        "metric": full.metrics["metric"],
        "score": fmean(float(r.metrics["score"]) for r in small),  # type: ignore[arg-type]
        "score_full": full.metrics["score"],
        "tunable": small[0].metrics["tunable"],
        "quantised": str((plm.provenance or {}).get("quantised") or ""),
        **_numbers(pairs, tables, c),
    }
    return Record(job, metrics, tables)


def _studied(matrices: Sequence[WeightMatrix], max_blocks: int | None) -> list[WeightMatrix]:
    """Those of all blocks, or of evenly spaced pairs of neighbouring blocks."""
    blocks = sorted({m.block for m in matrices})
    if max_blocks is None or len(blocks) <= max_blocks:
        return list(matrices)
    first = [blocks[int(i)] for i in np.linspace(0, len(blocks) - 2, max_blocks // 2).round()]
    return [m for m in matrices if m.block in first or m.block - 1 in first]


def _solution(c: Mapping[str, Any], store: Store, rank: int | None, seed: int) -> Solution:
    method = {"method": "full"} if rank is None else {"method": "lora", "rank": rank}
    lr = c["full_lr"] if rank is None else c["lora_lr"]
    return solution(child_job(c, method=method, seed=seed, lr=lr), store)


def _spectra(run: Solution, base: Mapping[str, Spectrum]) -> dict[str, Spectrum]:
    """Of the update of each compared matrix, with vectors."""
    with torch.no_grad():
        differences = run.delta.weight_difference(run.phi)
    return {label: Spectrum.of(differences[label], vectors=True) for label in base}


Spectra = Mapping[str, Spectrum]


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


def _next_block(places: Mapping[str, tuple[str, int]], label: str) -> str | None:
    role, block = places[label]
    return next((other for other, place in places.items() if place == (role, block + 1)), None)


def _grid(A: Spectrum, B: Spectrum, side: str, rank: int) -> pd.DataFrame:
    """φ(i, j), i up to r; j up to r, or on the ladder where B has more directions."""
    longer = len(B.values) > rank and len(B.values) > len(A.values)
    columns = [j for j in LADDER if j <= len(B.values)] if longer else range(1, rank + 1)
    table = subspace_similarity(A, B, side=side, max_rank=max(columns)).table()  # type: ignore[arg-type]
    return table[table["j"].isin(columns) & (table["i"] <= rank)]


def _ranks(c: Mapping[str, Any]) -> tuple[int, ...]:
    """r of the amplification table: Hu et al.'s 4 and 64 where the update has them, and the runs' own."""
    return tuple(sorted({min(4, c["rank"]), c["rank"], c["large_rank"]}))


def _mean(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Over the pairs of one comparison."""
    table = table.groupby(keys, sort=False, as_index=False).mean(numeric_only=True)
    return table.astype({name: "float32" for name in table.columns if table[name].dtype == np.float64})


def _numbers(pairs: pd.DataFrame, tables: Mapping[str, pd.DataFrame], c: Mapping[str, Any]) -> dict[str, Scalar]:
    """What the verdicts are about: overlap over random of every pair of seeds, and the projections of Table 7."""
    found: dict[str, Scalar] = {}
    seeds = pairs[pairs["comparison"] == SEEDS]
    for side in SIDES.values():
        for k in (1, c["rank"]):
            at = seeds[(seeds["side"] == side) & (seeds["i"] == k) & (seeds["j"] == k)]
            ratio = at["similarity"] / at["random"]
            for n, value in enumerate(ratio.groupby(at["pair"]).mean()):
                found[f"seeds_{side}_{k}_pair{n}"] = float(value)
    similar = tables["subspace_similarity"]
    first = similar[(similar["comparison"] == RANKS) & (similar["i"] == 1) & (similar["j"] == 1)]
    for which, part in first.groupby("side"):
        found[f"ranks_{which}_1"] = float(part["similarity"].mean())
    table = tables["amplification"]
    table = table[table["rank"] == min(4, c["rank"])]
    for label, part in table.groupby("label", sort=False):
        name = str(label).replace("LoRA r = ", "lora").replace(", seed ", "_seed").replace(" ", "_").replace("-", "_")
        found[f"onto_base_{name}"] = float((part["onto_delta"] / part["onto_base"]).mean())
        found[f"onto_random_{name}"] = float((part["onto_delta"] / part["onto_random"]).mean())
        found[f"amplification_{name}"] = float(part["factor"].median())
    return found


REPLICATES = ("model", "task", "batch_size", "max_length", "n_validation", "max_blocks", "lora_lr")
"""What differs between records that are judged together: the PLMs of a scale have settings of their own."""


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """Hu et al.'s claims on these models; the unit of an interval is a pair of seeds, or a run, within each PLM."""
    where = ", ".join(dict.fromkeys(f"{r.job.config['model']} on {r.job.config['task']}" for r in records))
    runs = f"{where}; LoRA on {' and '.join(ROLES)}"
    rank = records[0].job.config["rank"]

    def all_of(start: str) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for r in records:
            values = [float(v) for k, v in r.metrics.items() if k.startswith(start)]  # type: ignore[arg-type]
            found.setdefault(f"{r.job.config['model']} {r.job.config['task']}", []).extend(values)
        return found

    shared: dict[str, Any] = {"figure": NAME}
    found = [
        Verdict(
            claim=f"LoRA of one task with different seeds share their {what} of the {side} beyond random.",
            source="Hu et al. 2021, section 7.2, figure 4",
            quantity=f"φ({k}, {k}) over its random level, mean over matrices [1]",
            measured=stratified_interval(all_of(f"seeds_{side}_{k}_")), threshold=1.0, side="above",
            setting=f"{runs}; pairs of seeds, which share runs", **shared,
        )
        for side in SIDES.values()
        for k, what in ((1, "first direction"), (rank, f"first {rank} directions"))
    ]  # fmt: skip
    found += [
        Verdict(
            claim=f"The first direction of the {side} is the same for a small and a large rank (overlap above ½).",
            source="Hu et al. 2021, section 7.2, figure 3",
            quantity="φ(1, 1) of r = 8 and r = 64, mean over matrices [1]",
            measured=stratified_interval(all_of(f"ranks_{side}_1")), threshold=0.5, side="above",
            setting=runs, **shared,
        )
        for side in SIDES.values()
    ]  # fmt: skip
    amplified: dict[str, Any] = {"figure": "amplification"}
    found += [
        Verdict(
            claim="ΔW amplifies directions that are not emphasised in W₀.",
            source="Hu et al. 2021, section 7.3, Table 7",
            quantity="‖UᵀW₀V‖_F for U, V of ΔW over the same for U, V of W₀, mean over matrices [1]",
            measured=stratified_interval(all_of(f"onto_base_lora{rank}_seed")), threshold=0.5, side="below",
            setting=f"{runs}; seeds", **amplified,
        ),
        Verdict(
            claim="ΔW lies along W₀ more than random directions do.",
            source="Hu et al. 2021, section 7.3, Table 7",
            quantity="‖UᵀW₀V‖_F for U, V of ΔW over its random level, mean over matrices [1]",
            measured=stratified_interval(all_of(f"onto_random_lora{rank}_seed")), threshold=1.0, side="above",
            setting=f"{runs}; seeds", **amplified,
        ),
    ]  # fmt: skip
    return found


def summary(store: Store, records: list[Record]) -> str:
    """Overlaps over random, and the amplification factor."""
    lines = []
    for record in records:
        c, m = record.job.config, record.metrics
        lines.append(f"{c['model']} on {c['task']} ({m['metric']} {m['score']:.3f}, full {m['score_full']:.3f}):")
        for side in SIDES.values():
            for k in dict.fromkeys((1, c["rank"])):
                ratios = [float(v) for name, v in m.items() if name.startswith(f"seeds_{side}_{k}_")]  # type: ignore[arg-type]
                lines.append(f"  {side:8s} seeds share φ({k}, {k}) = {fmean(ratios):6.1f} × random")
        first = f"lora{c['rank']}_seed{c['seeds'][0]}"
        lines.append(
            f"  ΔW on W₀: {m[f'onto_base_{first}']:.3f} of W₀'s own directions, {m[f'onto_random_{first}']:.2f} × "
            f"random; amplification {m[f'amplification_{first}']:.1f}"
        )
    return "\n".join(lines)
