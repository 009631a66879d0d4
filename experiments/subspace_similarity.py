"""Do updates of one task point the same way, and what do they do to W₀?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import sqrt
from statistics import fmean

import pandas as pd

from lab.geometry.amplification import emphasis
from lab.geometry.compared_spectra import (
    PLACE,
    SIDES,
    amplification_table,
    compared_spectra,
    comparisons,
    mean_over_pairs,
    similarity_numbers,
    update_spectra,
    weight_of,
)
from lab.geometry.studied_matrices import ROLES, neighbours
from lab.linalg import Spectrum
from lab.runs.record import Scalar
from lab.statistics import Evidence, Interval, Verdict, least_of, mean_interval, pair_interval, stratified_interval
from lab.study import Budget, Experiment, Finding, Lab, Result, TrainingRun, setting, subjects
from lab.study.training_run import solutions


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
    matrices = neighbours(plm.matrices(ROLES), c.max_blocks)
    base = {m.label: Spectrum.of(weight_of(m, plm), vectors=True) for m in matrices}
    updates = [update_spectra(run.delta, run.phi, base) for run in small]
    wide, dense = (update_spectra(run.delta, run.phi, base) for run in (large, full))
    grids, angles = compared_spectra(matrices, comparisons(updates, wide, dense, base), c.rank)
    names = [
        *(f"{run.how.title}, seed {run.seed}" for run in c.runs[: len(small)]),
        *(r.how.title for r in c.runs[-2:]),
    ]
    labelled = dict(zip(names, [*updates, wide, dense], strict=True))
    tables = {
        "subspace_similarity": mean_over_pairs(pd.concat(grids), [*PLACE, "i", "j"]),
        "principal_angles": mean_over_pairs(pd.concat(angles), [*PLACE, "index"]),
        "amplification": amplification_table(plm, matrices, base, labelled, (c.few, c.rank, c.large_rank)),
    }
    tables = {name: table.assign(model=c.model, task=c.task) for name, table in tables.items()}
    pairs = pd.concat([g.assign(pair=n // (2 * len(matrices))) for n, g in enumerate(grids)])
    metrics: dict[str, Scalar] = {
        "metric": full.metrics["metric"],
        "score": fmean(float(run.metrics["score"] or 0) for run in small),
        "score_full": full.metrics["score"],
        "tunable": small[0].metrics["tunable"],
        "quantised": str((plm.provenance or {}).get("quantised") or ""),
        **similarity_numbers(pairs, tables, c.rank, c.few),
    }
    return Result(metrics, tables)


def _over_pairs(by_plm: Mapping[str, Sequence[float]]) -> Interval:
    """Of n = k(k − 1)/2 values per PLM, those of pairs of k seeds in the order (0, 1), (0, 2), …, (1, 2), …"""
    pairs = {plm: combinations(range(round((1 + sqrt(1 + 8 * len(v))) / 2)), 2) for plm, v in by_plm.items()}
    return pair_interval({plm: dict(zip(pairs[plm], v, strict=True)) for plm, v in by_plm.items()})


def _over_tasks(
    found: Sequence[Finding[Subspaces]], values: Callable[[Finding[Subspaces]], Sequence[float]]
) -> dict[str, list[float]]:
    """PLM -> the mean of each of its tasks."""
    models = dict.fromkeys(finding.config.model for finding in found)
    own = {model: _by_plm([f for f in found if f.config.model == model], values) for model in models}
    return {model: [sum(each) / len(each) for each in tasks.values()] for model, tasks in own.items()}


def _by_plm(
    found: Sequence[Finding[Subspaces]], values: Callable[[Finding[Subspaces]], Sequence[float]]
) -> dict[str, list[float]]:
    """PLM and task -> the values of its findings, one per run."""
    by_plm: dict[str, list[float]] = {}
    for finding in found:
        by_plm.setdefault(f"{finding.config.model} {finding.config.task}", []).extend(values(finding))
    return by_plm


def _starting(start: str) -> Callable[[Finding[Subspaces]], list[float]]:
    """The metrics whose names begin so."""
    return lambda finding: [float(value) for name, value in finding.metrics.items() if name.startswith(start)]


def _emphasis(finding: Finding[Subspaces], runs: str) -> list[float]:
    """Of each run, from its means over matrices of what ΔW's directions see of W₀."""
    onto_random, onto_base = (_starting(f"onto_{of}_{runs}")(finding) for of in ("random", "base"))
    return [emphasis(r, b) for r, b in zip(onto_random, onto_base, strict=True)]


def claims(found: Sequence[Finding[Subspaces]]) -> list[Verdict]:
    """Hu et al.'s claims on these models; the unit of an interval is a run, within each PLM."""
    runs = f"{subjects(found)}; LoRA on {' and '.join(ROLES)}"
    c = found[0].config

    similar = Evidence("Hu et al. 2021, section 7.2", runs, "subspace_similarity", "runs")
    amplified = Evidence("Hu et al. 2021, section 7.3, Table 7", f"{runs}; seeds", "amplification", "runs")

    def measured(start: str) -> Interval:
        by_plm = _by_plm(found, _starting(start))
        return _over_pairs(by_plm) if start.startswith("seeds") else stratified_interval(by_plm)

    shared = [
        similar.above(
            1.0, measured(f"seeds_{side}_{k}_"),
            f"LoRA of one task with different seeds share their {what} of the {side} beyond random.",
            f"φ({k}, {k}) over its random level, mean over matrices [1]",
            source=f"{similar.source}, figure 4", setting=f"{runs}; pairs of seeds, interval over seeds",
        )
        for side in SIDES.values()
        for k, what in ((1, "first direction"), (c.rank, f"first {c.rank} directions"))
    ]  # fmt: skip
    first = [  # one value of each task, the first seed's: tasks are what is random
        similar.above(
            0.5, stratified_interval(_over_tasks(found, _starting(f"ranks_{side}_1"))),
            f"The first direction of the {side} is the same for a small and a large rank (overlap above ½).",
            f"φ(1, 1) of r = {c.rank} and r = {c.large_rank}, mean over matrices [1]",
            source=f"{similar.source}, figure 3", setting=f"{runs}; interval over tasks within each PLM",
        )
        for side in SIDES.values()
    ]  # fmt: skip
    factors = _by_plm(found, _starting(f"amplification_lora{c.rank}_seed"))
    larger = amplified.above(
        1.0, least_of({plm: mean_interval(values) for plm, values in factors.items()}),
        "ΔW amplifies the directions in which it acts, on every PLM.",
        "‖ΔW‖_F over ‖UᵀW₀V‖_F for U, V of ΔW, median over matrices, on the PLM where it is least [1]",
    )  # fmt: skip
    lacking = amplified.below(
        0.5, stratified_interval(_by_plm(found, lambda f: _emphasis(f, f"lora{c.rank}_seed"))),
        "The directions in which ΔW acts are not emphasised in W₀: nearer to random ones than to W₀'s first.",
        "ln of ‖UᵀW₀V‖_F from the random level (0) to that of W₀'s first directions (1), for U, V of ΔW [1]",
    )  # fmt: skip
    along = amplified.above(
        1.0, measured(f"onto_random_lora{c.rank}_seed"), "ΔW lies along W₀ more than random directions do.",
        "‖UᵀW₀V‖_F for U, V of ΔW over its random level, mean over matrices [1]",
    )  # fmt: skip
    return [*shared, *first, larger, lacking, along]


_MINILM = Subspaces(
    model="minilm", task="bbc-news", steps=60, n_train=None, n_validation=300, max_length=32, batch_size=16
)
_PAPER = replace(_MINILM, steps=1000, n_validation=None, max_length=128, batch_size=32, seeds=(0, 1, 2, 3, 4), splits=3)

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
