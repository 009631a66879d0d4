"""The spectrum of what training did to the weights, beside chance.

Question: is the change ΔW that a method makes of low rank, and is that more than its null would give?
Source: Hu et al. 2021, section 7 (LoRA's premise: the update has a low intrinsic rank).
Varied: the method (full fine-tuning, LoRA, a random subspace of all weights), the PLM.
Tuned: full fine-tuning's step size on MiniLM (docs/intrinsic_dimension.md), and on SmolLM2 (1e-4 against 3e-5); the
    others follow the rule for d and D, but for LoRA on SmolLM2 (2e-3, not tuned).
Fixed: task, steps, batch size, seed of each PLM.
Expected: full fine-tuning's ΔW has a few values far above the Marchenko-Pastur edge and a bulk inside it; a random
    subspace's ΔW looks like its null in every matrix.
Cost: demo: 2 minutes (MiniLM) and 4 minutes (SmolLM2) on one quiet core. smoke: seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiments.training_run import solution, training_job
from lab.geometry import WeightDifferenceSpectra, weight_difference_spectra
from lab.runs import Job, Record, Store
from lab.runs.record import Scalar

NAME = "weight_differences"
FIGURES = ("weight_difference_spectra",)

METHODS: tuple[dict[str, Any], ...] = (
    {"method": "full"},
    {"method": "lora", "rank": 8},
    {"method": "did", "dimension": 1000},
)
LABELS = {"full": "full fine-tuning", "lora": "LoRA r = 8", "did": "Fastfood d = 1,000"}
STEP_SIZES = {"full": 1e-4}  # of full fine-tuning: docs/intrinsic_dimension.md; the others follow the rule for d and D
DRAWN_BLOCKS = 3
"""Values of at most so many blocks, evenly spaced, are kept; the scalars of all."""


@dataclass(frozen=True)
class Scale:
    """What a scale fixes for one PLM."""

    model: str
    task: str
    methods: tuple[str, ...]
    steps: int
    batch_size: int
    max_length: int
    n_train: int | None
    n_validation: int | None
    lora_lr: float | None = None


SCALES = {
    "smoke": (Scale("tiny-bert", "bbc-news", ("full", "lora", "did"), 3, 8, 16, 64, 32),),
    "demo": (
        Scale("minilm", "bbc-news", ("full", "lora", "did"), 60, 16, 32, None, 300),
        Scale("smollm2", "bbc-news", ("full", "lora"), 60, 8, 24, None, 100, lora_lr=2e-3),
    ),
    "paper": (
        Scale("minilm", "bbc-news", ("full", "lora", "did"), 1000, 16, 32, None, None),
        Scale("smollm2", "rotten-tomatoes", ("full", "lora", "did"), 1000, 16, 32, None, None),
    ),
}
SMALLER = {"lora": {"method": "lora", "rank": 2}, "did": {"method": "did", "dimension": 50}}
"""What the smoke scale takes instead."""


def jobs(scale: str, *, model: str | None = None, task: str | None = None, seed: int = 0) -> list[Job]:
    """One run per PLM and method.

    Args:
        scale: "smoke", "demo" or "paper".
        model: one PLM instead of the scale's.
        task: of every run; default: the scale's.
        seed: of the runs.
    """
    chosen = [s for s in SCALES[scale] if model in (None, s.model)] or [SCALES[scale][0]]
    found = []
    for s in chosen:
        for method in METHODS:
            name = method["method"]
            if name not in s.methods:
                continue
            run = training_job(
                model=model or s.model, task=task or s.task, seed=seed, steps=s.steps,
                lr=s.lora_lr if name == "lora" else STEP_SIZES.get(name),
                method=SMALLER.get(name, method) if scale == "smoke" else method, batch_size=s.batch_size,
                max_length=s.max_length, n_train=s.n_train, n_validation=s.n_validation,
            )  # fmt: skip
            found.append(Job(NAME, run.config))
    return found


def measure(job: Job, store: Store) -> Record:
    """Train, then compare every matrix's spectrum with its null."""
    run = solution(Job("training_run", job.config), store)
    spectra = weight_difference_spectra(run.delta, run.phi)
    label = LABELS[job.config["method"]["method"]]
    blocks = spectra.summary.dropna(subset=["block"])
    metrics: dict[str, Scalar] = {
        **{name: run.metrics[name] for name in ("metric", "score", "step_size")},
        "note": spectra.note,
        "matrices": len(spectra.summary),
        "median_stable_rank": float(blocks.stable_rank.median()),
        "median_null_stable_rank": float(blocks.null_stable_rank.median()),
        "median_effective_rank": float(blocks.effective_rank.median()),
        "median_null_effective_rank": float(blocks.null_effective_rank.median()),
        "median_energy_rank_90": float(blocks.energy_rank_90.median()),
        "median_null_energy_rank_90": float(blocks.null_energy_rank_90.median()),
        "median_above_null": float(blocks.n_above_null.median()),
        "median_relative_norm": float(blocks.relative_frobenius_norm.median()),
        **{name: run.metrics[name] for name in ("tunable", "stored", "head", "added", "native")},
    }
    return Record(job, metrics, _tables(spectra, label))


def _tables(spectra: WeightDifferenceSpectra, label: str) -> dict[str, pd.DataFrame]:
    in_blocks = spectra.values.dropna(subset=["block"]).rename(columns={"singular_value": "sigma"})
    blocks = sorted(in_blocks["block"].unique())
    drawn = {blocks[int(i)] for i in np.linspace(0, len(blocks) - 1, min(DRAWN_BLOCKS, len(blocks))).round()}
    return {
        "weight_difference_spectra": in_blocks[in_blocks["block"].isin(drawn)].assign(label=label),
        "summary": spectra.summary.assign(label=label),
        "excluded": spectra.excluded,
    }


def summary(store: Store, records: list[Record]) -> str:
    """Ranks per method, medians over the matrices of the blocks."""
    lines = ["medians over the matrices of all blocks:"]
    for record in records:
        m = record.metrics
        c = record.job.config
        lines.append(
            f"  {c['model']:10s} {LABELS[c['method']['method']]:20s} stable rank {m['median_stable_rank']:6.1f}   "
            f"effective rank {m['median_effective_rank']:6.1f} (null {m['median_null_effective_rank']:6.1f})   "
            f"values above the null {m['median_above_null']:5.1f}   {m['metric']} {m['score']:.3f}"
        )
    return "\n".join(lines)
