"""The spectrum of what training did to the weights, beside chance.

Question: is the change ΔW that a method makes of low rank, and is that more than its null would give?
Source: Hu et al. 2021, section 7 (LoRA's premise: the update has a low intrinsic rank).
Varied: the method (full fine-tuning, LoRA, a random subspace of all weights).
Tuned: full fine-tuning's step size (docs/intrinsic_dimension.md); the others by the rule for d and D.
Fixed: PLM, task, steps, batch size, seed.
Expected: full fine-tuning's ΔW has a few values far above the Marchenko-Pastur edge and a bulk inside it; a random
    subspace's ΔW looks like its null in every matrix.
Cost: demo: about 2 minutes on two cores (MiniLM). smoke: seconds.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments.training_run import counts, trained, training_job
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
STEPS = {"smoke": 3, "demo": 60, "paper": 1000}


def jobs(scale: str, *, model: str | None = None, task: str = "bbc-news", seed: int = 0) -> list[Job]:
    """One run per method."""
    smoke = scale == "smoke"
    model = model or ("tiny-bert" if smoke else "minilm")
    size = {"smoke": 32, "demo": 300, "paper": None}[scale]
    found = []
    for method in METHODS:
        small = {"method": "did", "dimension": 50} if smoke and method["method"] == "did" else method
        small = {"method": "lora", "rank": 2} if smoke and method["method"] == "lora" else small
        run = training_job(
            model=model, task=task, method=small, seed=seed, steps=STEPS[scale],
            lr=STEP_SIZES.get(method["method"]), batch_size=8 if smoke else 16,
            max_length=16 if smoke else 32, n_train=64 if smoke else None, n_validation=size,
        )  # fmt: skip
        found.append(Job(NAME, run.config))
    return found


def measure(job: Job, store: Store) -> Record:
    """Train, then compare every matrix's spectrum with its null."""
    delta, result = trained(job.config)
    spectra = weight_difference_spectra(delta, result.phi)
    label = LABELS[job.config["method"]["method"]]
    blocks = spectra.summary.dropna(subset=["block"])
    metrics: dict[str, Scalar] = {
        "metric": result.metric,
        "score": result.score,
        "step_size": result.lr,
        "note": spectra.note,
        "median_stable_rank": float(blocks.stable_rank.median()),
        "median_effective_rank": float(blocks.effective_rank.median()),
        "median_above_null": float(blocks.n_above_null.median()),
        **counts(delta),
    }
    return Record(job, metrics, _tables(spectra, label))


def _tables(spectra: WeightDifferenceSpectra, label: str) -> dict[str, pd.DataFrame]:
    in_blocks = spectra.values.dropna(subset=["block"]).rename(columns={"singular_value": "sigma"})
    return {
        "weight_difference_spectra": in_blocks.assign(label=label),
        "summary": spectra.summary.assign(label=label),
        "excluded": spectra.excluded,
    }


def summary(store: Store, records: list[Record]) -> str:
    """Ranks per method, medians over the matrices of the blocks."""
    lines = ["medians over the matrices of all blocks:"]
    for record in records:
        m = record.metrics
        lines.append(
            f"  {LABELS[record.job.config['method']['method']]:20s} stable rank {m['median_stable_rank']:6.1f}   "
            f"effective rank {m['median_effective_rank']:6.1f}   values above the null {m['median_above_null']:5.1f}   "
            f"{m['metric']} {m['score']:.3f}"
        )
    return "\n".join(lines)
