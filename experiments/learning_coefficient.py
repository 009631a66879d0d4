"""The learning coefficient of trained deltas, beside their number of parameters and their curvature."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, nan
from typing import Any

import pandas as pd
import torch

from lab.deltas import Delta
from lab.geometry.batch_losses import batch_loss
from lab.geometry.curvature_factor import factor_spectrum, gauss_newton_factor, output_jacobian
from lab.geometry.learning_coefficient import (
    Langevin,
    effective_dimension,
    learning_coefficient,
    reduced_rank_singularity,
)
from lab.statistics import mean_interval
from lab.study import Experiment, Lab, Result, TrainingRun, counts, setting
from lab.study.amounts import training_steps


@dataclass(frozen=True, kw_only=True)
class LearningCoefficientOf(TrainingRun):
    """One delta; `n_train` examples are those of the posterior, and all of them are in every step."""

    steps: int = training_steps()
    step: float = setting("ε of the Langevin steps, times the largest curvature of nβ L + ½ γ ‖φ − φ*‖²", 0.4, low=0)
    localisation: float = setting("γ, times nβ and the mean eigenvalue of the Gauss-Newton matrix", 1.0, low=0)
    draws: int = setting("losses averaged per chain", 200, low=1)
    burn_in: int = setting("steps before them", 100, low=0)
    chains: int = setting("independent chains", 4, low=1)


def measure(c: LearningCoefficientOf, lab: Lab) -> Result:
    """λ̂ at the trained φ, N(γ)/2 of its curvature at the same γ, and the closed form of a LoRA that is needed whole."""
    delta, n = c.analysed(), len(c.data.train)
    _, fit = c.trained()
    batch, beta = c.batch(delta, n), n / log(n)
    logits, J = output_jacobian(delta, fit.phi, batch)
    spectrum = factor_spectrum(gauss_newton_factor(logits, J))
    curvature = c.localisation * spectrum.trace / delta.size
    largest = beta * (float(spectrum.eigenvalues[0]) + curvature)
    how = Langevin(
        step=c.step / largest, localisation=beta * curvature, draws=c.draws, burn_in=c.burn_in, chains=c.chains
    )
    generator = torch.Generator(device=fit.phi.device).manual_seed(c.seed)
    found = learning_coefficient(batch_loss(delta, batch), fit.phi, n, how, generator=generator)
    interval = mean_interval(found.per_chain.tolist())
    half = effective_dimension(spectrum.eigenvalues, curvature) / 2
    row = {
        "label": c.how.title, "place": f"{c.model} on {c.task}", "dimension": delta.size, "estimate": found.estimate,
        "low": interval.low, "high": interval.high, "closed_form": _needed_whole(c.method, delta), "quadratic": half,
        "seed": c.seed, "model": c.model, "task": c.task,
    }  # fmt: skip
    metrics = {
        "metric": fit.metric, "score": fit.score, "learning_coefficient": found.estimate, "status": found.status,
        "half_effective_dimension": half, "flatness": spectrum.trace, "examples": n, **counts(delta),
    }  # fmt: skip
    return Result(metrics, {"learning_coefficient": pd.DataFrame([row])})


def _needed_whole(method: dict[str, Any], delta: Delta) -> float:
    """Σ over matrices of λ of a truth of rank r: of a LoRA with a frozen head, an upper end; NaN of other methods."""
    if method["method"] != "lora" or delta.head_size:
        return nan
    with torch.no_grad():
        shapes = [difference.shape for difference in delta.weight_difference(delta.phi0).values()]
    return sum(reduced_rank_singularity(n, m, method["rank"], method["rank"]).coefficient for m, n in shapes)


METHODS: tuple[dict[str, Any], ...] = (
    *({"method": "lora", "rank": rank, "head": "frozen"} for rank in (1, 2, 4, 8)),
    {"method": "bitfit", "head": "frozen"},
    {"method": "ia3", "head": "frozen"},
)
_DEMO = LearningCoefficientOf(
    model="minilm", task="bbc-news", method=METHODS[0], seed=0, steps=200, n_train=64, n_validation=100, max_length=16,
    batch_size=16, splits=3, draws=100, burn_in=50,
)  # fmt: skip

EXPERIMENT = Experiment(
    name="learning_coefficient",
    question="how many directions of a trained delta does its loss see, beside its parameters and its curvature?",
    source="Watanabe 2009 (singular learning theory); Lau et al. 2023 (local estimate); Aoyagi & Watanabe 2005 (LoRA's "
    "closed form).",
    varied="the method and its rank.",
    tuned="nothing: the step of the chains is a share of the largest stable one.",
    fixed="PLM, task, steps, examples; frozen head, so that what is counted is the delta's own.",
    expected="λ̂ far below half of the parameters and hardly more for a larger rank; near N(γ)/2 where the valley is "
    "quadratic, below it where it is singular.",
    cost="demo: two minutes a method on one core (MiniLM). smoke: seconds.",
    view="optimisation",
    config=LearningCoefficientOf,
    scales={
        "smoke": replace(
            _DEMO, model="tiny-bert", steps=3, n_train=16, n_validation=16, max_length=8, batch_size=8, n_test=16,
            draws=5, burn_in=2, chains=2,
        ),
        "demo": tuple(replace(_DEMO, method=method) for method in METHODS),
        "paper": tuple(
            replace(
                _DEMO, method=method, seed=seed, steps=1000, n_train=512, max_length=64, batch_size=32, draws=1000,
                burn_in=500,
            )
            for method in METHODS
            for seed in range(5)
        ),
    },
    measure=measure,
    figures=("learning_coefficient",),
)  # fmt: skip
