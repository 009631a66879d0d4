"""Intruder dimensions: found, forecast, and taken out again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lab.geometry.intruder_tables import (
    ChangedMatrix,
    count_sweep,
    mitigation_table,
    onset_metrics,
    onset_row,
    overlap_table,
    strength_table,
    worth_mitigating,
)
from lab.geometry.studied_matrices import ROLES, studied
from lab.geometry.weight_changes import delta_changes
from lab.runs.record import Scalar
from lab.statistics import Evidence, Verdict, mean_interval
from lab.statistics.intruder_onset import nearer_than_gaussian
from lab.study import Budget, Experiment, Finding, Lab, Result, TrainingRun, setting, solution, subjects


@dataclass(frozen=True, kw_only=True)
class IntruderSearch(Budget):
    """One method on one PLM."""

    method: dict[str, Any] = setting("hyperparameters of the delta method (`DeltaMethod.to_json`)")
    k: int = setting("leading vectors of W₀ + t·ΔW to look at", 10, low=1, keyed=True)
    epsilon: float = setting("overlap with W₀'s vectors below which one intrudes", 0.5, low=0, high=1, keyed=True)
    max_blocks: int = setting("most blocks to look at, evenly spaced", 6, low=1, keyed=True)
    strengths: tuple[float, ...] = setting(
        "t of the score curve", (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0), low=0, keyed=True
    )
    shown: tuple[float, ...] = setting("t of the overlaps", (1.0, 8.0, 64.0), low=0, keyed=True)
    lambdas: tuple[float, ...] = setting(
        "what mitigation multiplies intruders by; 1 keeps them", (0.0, 0.25, 0.5, 0.75, 1.0), keyed=True
    )
    full_lr: float = setting("step size of full fine-tuning", 1e-4, keyed=True)
    lora_lr: float | None = setting("step size of LoRA; none: by the rule for d and D", None, keyed=True)
    seed: int = setting("of the run", 0, low=0, keyed=True)

    @property
    def run(self) -> TrainingRun:
        lr = self.full_lr if self.method["method"] == "full" else self.lora_lr
        return self.child(method=self.method, seed=self.seed, lr=lr)


def measure(c: IntruderSearch, lab: Lab) -> Result:
    """Train, then look for intruders in W₀ + t·ΔW over t, forecast the first, and scale them down again."""
    run = solution(c.run, lab)
    plm = run.delta.plm
    weights = run.weights
    matrices = [ChangedMatrix.of(m, plm, weights) for m in studied(plm, weights, c.max_blocks)]
    changes = delta_changes(run.delta, run.phi)
    labels = [m.at.label for m in matrices if m.at.label in changes.names]
    dense = [label for label in labels if isinstance(changes.read(label).difference, Tensor)]
    looked: dict[str, Any] = {"k": c.k, "epsilon": c.epsilon}
    overlaps = overlap_table(matrices, c.shown, dense=dense, **looked)
    onsets = pd.DataFrame([onset_row(matrix, dense=dense, **looked) for matrix in matrices])
    changed = (plm, weights, matrices)
    looked["score"] = partial(c.run.score_of, plm)
    strengths = strength_table(*changed, onsets, strengths=c.strengths, **looked)
    at = worth_mitigating(strengths)
    tables = {
        "intruders": overlaps,
        "intruder_sweep": count_sweep(overlaps),
        "intruder_forecast": onsets,
        "intruder_strength": strengths,
        "intruder_mitigation": mitigation_table(*changed, at, lambdas=c.lambdas, **looked),
    }
    place = {"label": c.run.how.title, "model": c.model, "task": c.task}
    metrics: dict[str, Scalar] = {
        **{name: run.metrics[name] for name in ("metric", "score", "tunable")},
        "quantised": str((plm.provenance or {}).get("quantised") or ""), "matrices": len(matrices),
        **onset_metrics(onsets), "mitigated_at": at,
        "intruders_at_1": int(strengths.loc[strengths["strength"] == 1.0, "intruders"].sum()),
    }  # fmt: skip
    return Result(metrics, {name: table.assign(**place) for name, table in tables.items()})


def claims(found: Sequence[Finding[IntruderSearch]]) -> list[Verdict]:
    """LoRA against full fine-tuning, and the forecast against what was seen."""
    setting = f"{subjects(found)}; {' and '.join(ROLES)} matrices"
    evidence = Evidence("Benaych-Georges & Nadakuditi 2012, applied", setting, "intruder_forecast", "runs")
    verdicts = []
    if ratios := _ratios(found):
        sooner = evidence.above(
            0.0, mean_interval(ratios),
            "At equal ‖ΔW‖_F/‖W₀‖_F, LoRA's updates have intruders before full fine-tuning's.",
            "ln of full fine-tuning's over LoRA's relative norm at the first intruder, median matrix [1]",
            source="Shuttleworth et al. 2024", unit="PLMs",
        )  # fmt: skip
        verdicts.append(sooner)
    gains = [nearer_than_gaussian(finding.tables["intruder_forecast"]) for finding in found]
    if known := [gain for gain in gains if gain is not None]:
        forecast = evidence.above(
            0.0, mean_interval(known),
            "The spectrum of W₀ forecasts the strength of the first intruder better than W₀'s size alone.",
            "|ln of a Gaussian W₀'s strength over the one seen| minus |ln of the forecast over it|, median over the "
            "matrices of a run [1]",
        )  # fmt: skip
        verdicts.append(forecast)
    return verdicts


def _ratios(found: Sequence[Finding[IntruderSearch]]) -> list[float]:
    """ln of full fine-tuning's over LoRA's relative norm at the first intruder, where a PLM, task and seed has both."""
    onsets: dict[tuple[str, str, int], dict[str, float]] = {}
    for f in found:
        if (onset := f.metrics["median_onset_relative"]) is not None:
            onsets.setdefault((f.config.model, f.config.task, f.config.seed), {})[f.config.method["method"]] = onset
    return [float(np.log(both["full"] / both["lora"])) for both in onsets.values() if {"full", "lora"} <= set(both)]


def _runs(*methods: dict[str, Any], **settings: Any) -> tuple[IntruderSearch, ...]:
    return tuple(IntruderSearch(method=method, **settings) for method in methods)


FULL, LORA = {"method": "full"}, {"method": "lora", "rank": 8}
_DEMO = {"task": "bbc-news", "n_train": None, "steps": 60}
_PAPER = {"n_train": None, "n_validation": None, "steps": 1000, "batch_size": 32, "splits": 3}

EXPERIMENT = Experiment(
    name="intruders",
    question="at what strength of an update do directions appear that W₀ does not have, and what are they worth?",
    source="Shuttleworth et al. 2024 (detection, mitigation; LoRA against full fine-tuning); the forecast is ours, "
    "from the spiked model of Benaych-Georges & Nadakuditi 2012.",
    varied="the method (full fine-tuning, LoRA), the strength t of θ₀ + t·Δθ (for LoRA: α), k and ε, mitigation's λ.",
    tuned="full fine-tuning's step size on MiniLM (docs/intrinsic_dimension.md); LoRA's by the rule for d and D (2e-3 "
    "on SmolLM2, not tuned).",
    fixed="PLM, task, steps, seed; query and value matrices of at most six blocks, evenly spaced; a new head as "
    "trained.",
    expected="LoRA's updates intrude at a smaller relative strength than full fine-tuning's; the forecast orders the "
    "matrices; taking intruders out costs little at λ near 1.",
    cost="demo: 2 minutes (MiniLM) and 4 minutes (SmolLM2) on two cores. smoke: seconds.",
    view="optimisation",
    config=IntruderSearch,
    scales={
        "smoke": _runs(
            FULL, {"method": "lora", "rank": 2}, model="tiny-bert", task="bbc-news", steps=3, n_train=64,
            n_validation=32, max_length=16, batch_size=8, k=2, epsilon=0.8, strengths=(0.0, 1.0, 64.0),
            shown=(1.0, 64.0), lambdas=(0.0, 1.0),
        ),
        "demo": (
            *_runs(FULL, LORA, model="minilm", n_validation=300, max_length=32, batch_size=16, **_DEMO),
            *_runs(
                FULL, LORA, model="smollm2", n_validation=100, max_length=24, batch_size=8, max_blocks=4,
                strengths=(0.0, 1.0, 8.0, 64.0), lambdas=(0.0, 1.0), lora_lr=2e-3, **_DEMO,
            ),
        ),
        "paper": (
            *_runs(FULL, LORA, model="minilm", task="bbc-news", max_length=128, **_PAPER),
            *_runs(FULL, LORA, model="smollm2", task="rotten-tomatoes", max_length=64, max_blocks=30, **_PAPER),
        ),
    },
    measure=measure,
    figures=("intruders", "intruder_sweep", "intruder_forecast", "intruder_strength", "intruder_mitigation"),
    claims=claims,
    replicates=(
        "model", "task", "batch_size", "max_length", "n_validation", "max_blocks", "strengths", "lambdas", "lora_lr",
        "method", "seed",
    ),
)  # fmt: skip
