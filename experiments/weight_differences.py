"""The spectrum of what training did to the weights, beside chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lab.geometry import WeightDifferenceSpectra, weight_difference_spectra
from lab.geometry.sign_flip_null import sign_flip_table
from lab.geometry.studied_matrices import evenly_spaced
from lab.geometry.weight_changes import delta_changes
from lab.runs.record import Scalar
from lab.statistics import Evidence, Verdict, mean_interval
from lab.study import Experiment, Finding, Lab, Result, TrainingRun, solution, subjects
from lab.study.amounts import training_steps

DRAWN_BLOCKS = 3
"""Values of at most so many blocks, evenly spaced, are kept; the scalars of all."""
ABOVE_SIGNS = "median_above_signs"
"""Metric: values above the null of random signs in the median matrix of those drawn; of dense differences."""
MEDIANS = ("stable_rank", "effective_rank", "energy_rank_90")


@dataclass(frozen=True, kw_only=True)
class WeightDifferences(TrainingRun):
    """A training run whose ΔW is taken apart."""

    steps: int = training_steps()


def measure(run: WeightDifferences, lab: Lab) -> Result:
    """Train, then compare every matrix's spectrum with its null."""
    trained = solution(run, lab)
    spectra = weight_difference_spectra(trained.delta, trained.phi)
    drawn = _drawn(spectra)
    signs = sign_flip_table(delta_changes(trained.delta, trained.phi), set(drawn["matrix"]))
    blocks = spectra.summary.dropna(subset=["block"])
    medians = {
        f"median_{null}{name}": float(blocks[f"{null}{name}"].median()) for name in MEDIANS for null in ("", "null_")
    }
    metrics: dict[str, Scalar] = {
        **{name: trained.metrics[name] for name in ("metric", "score", "step_size")},
        "note": spectra.note,
        "matrices": len(spectra.summary),
        **medians,
        "median_above_null": float(blocks.n_above_null.median()),
        **({ABOVE_SIGNS: float(signs.n_above_signs.median())} if len(signs) else {}),
        "median_relative_norm": float(blocks.relative_frobenius_norm.median()),
        **{name: trained.metrics[name] for name in ("tunable", "stored", "head", "added", "native")},
    }
    label = run.how.title
    tables = {
        "weight_difference_spectra": drawn.merge(signs[["matrix", "sign_edge"]], "left", on="matrix").assign(
            label=label
        ),
        "summary": spectra.summary.assign(label=label),
        "excluded": spectra.excluded,
    }
    return Result(metrics, tables)


def _drawn(spectra: WeightDifferenceSpectra) -> pd.DataFrame:
    """The values that are kept, with the line above which they stand out of the null."""
    in_blocks = spectra.values.dropna(subset=["block"])
    chosen = in_blocks[in_blocks["block"].isin(evenly_spaced(sorted(in_blocks["block"].unique()), DRAWN_BLOCKS))]
    return chosen.merge(spectra.summary[["matrix", "null_edge"]], "left", on="matrix")


def claims(found: Sequence[Finding[WeightDifferences]]) -> list[Verdict]:
    """Whether full fine-tuning moves whole directions; of records with the null of random signs."""
    above = [f.metrics[ABOVE_SIGNS] for f in found if f.config.method == FULL and ABOVE_SIGNS in f.metrics]
    if not above:
        return []
    evidence = Evidence("Hu et al. 2021, section 7", subjects(found), "weight_difference_spectra", "seeds")
    claim = "Full fine-tuning moves whole directions: some stand out from entries of the same sizes and random signs."
    quantity = "singular values of ΔW above the largest with random signs, median over matrices [count]"
    return [evidence.above(0.0, mean_interval(above), claim, quantity)]


def _runs(*methods: dict[str, Any], lora_lr: float | None = None, **budget: Any) -> tuple[WeightDifferences, ...]:
    """One run per method; of full fine-tuning with the step size of docs/intrinsic_dimension.md."""
    step_sizes = {"full": 1e-4, "lora": lora_lr}
    return tuple(
        WeightDifferences(method=method, seed=0, lr=step_sizes.get(method["method"]), **budget) for method in methods
    )


FULL, LORA, DID = {"method": "full"}, {"method": "lora", "rank": 8}, {"method": "did", "dimension": 1000}
_DEMO: dict[str, Any] = {"task": "bbc-news", "steps": 60}
_PAPER: dict[str, Any] = {"steps": 1000, "batch_size": 16, "max_length": 32, "splits": 3}

EXPERIMENT = Experiment(
    name="weight_differences",
    question="is the change ΔW that a method makes of low rank, and is that more than its null would give?",
    source="Hu et al. 2021, section 7 (LoRA's premise: the update has a low intrinsic rank).",
    varied="the method (full fine-tuning, LoRA, a random subspace of all weights), the PLM.",
    tuned="full fine-tuning's step size on MiniLM (docs/intrinsic_dimension.md), and on SmolLM2 (1e-4 against 3e-5); "
    "the others follow the rule for d and D, except LoRA on SmolLM2 (2e-3, not tuned).",
    fixed="task, steps, batch size, seed of each PLM.",
    expected="full fine-tuning's ΔW has a few values far above the Marchenko-Pastur edge and a bulk inside it; a "
    "random subspace's ΔW looks like its null in every matrix.",
    cost="demo: 2 minutes (MiniLM) and 4 minutes (SmolLM2) on one quiet core. smoke: seconds.",
    view="optimisation",
    config=WeightDifferences,
    scales={
        "smoke": _runs(
            FULL, {"method": "lora", "rank": 2}, {"method": "did", "dimension": 50}, model="tiny-bert", task="bbc-news",
            steps=3, batch_size=8, max_length=16, n_train=64, n_validation=32,
        ),
        "demo": (
            *_runs(FULL, LORA, DID, model="minilm", **_DEMO, batch_size=16, max_length=32, n_validation=300),
            *_runs(FULL, LORA, model="smollm2", **_DEMO, batch_size=8, max_length=24, n_validation=100, lora_lr=2e-3),
        ),
        "paper": (
            *_runs(FULL, LORA, DID, model="minilm", task="bbc-news", **_PAPER),
            *_runs(FULL, LORA, DID, model="smollm2", task="rotten-tomatoes", **_PAPER),
        ),
    },
    measure=measure,
    figures=("weight_difference_spectra",),
    claims=claims,
    replicates=("seed",),
)  # fmt: skip
