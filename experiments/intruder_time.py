"""Intruder dimensions in training time: from which step, and from which step size, does a matrix get its first?

Two forecasts of the same moment, both from the spectrum of W₀ alone and neither with any vector of the sum W₀ + ΔW:
"known" reads ‖ΔW(s)‖₂ off the run (or off the runs of other step sizes); "extrapolated" knows it up to a quarter of the
steps (or for the smallest step size), and continues it as a power law (or in proportion).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiments.intruders import FULL, LORA
from lab.geometry.intruder_passages import STEPS, Threshold, intruder_shares, looked_at, onset_rows, thresholds_of
from lab.geometry.studied_matrices import ROLES
from lab.runs.record import Scalar
from lab.statistics import Evidence, Verdict, cluster_interval
from lab.statistics.intruder_onset import agreement, onset, order_within_runs
from lab.study import Budget, Experiment, Finding, Lab, Result, TrainingRun, setting, subjects

FORECASTS = {
    "forecast": "The threshold of W₀'s spectrum, met by the known ‖ΔW‖₂, says when a matrix gets an intruder.",
    "extrapolated": "The first quarter of a run, continued as a power law, says it in advance.",
}
"""Column of a forecast -> what is claimed of it."""


@dataclass(frozen=True, kw_only=True)
class IntruderTime(Budget):
    """One method on one PLM, at every step size."""

    method: dict[str, Any] = setting("hyperparameters of the delta method (`DeltaMethod.to_json`)")
    step_sizes: tuple[float, ...] = setting("of the runs, growing")
    keep_every: int = setting("look at the weights after so many steps", unit="step", low=1)
    k: int = setting("leading vectors of W₀ + ΔW to look at", 10, low=1, keyed=True)
    epsilon: float = setting("overlap with W₀'s vectors below which one intrudes", 0.5, low=0, high=1, keyed=True)
    max_blocks: int = setting("most blocks to look at, evenly spaced", 6, low=1, keyed=True)
    known_share: float = setting("of the steps that extrapolation knows", 0.25, low=0, high=1, keyed=True)
    seed: int = setting("of the runs", 0, low=0, keyed=True)

    def run(self, lr: float) -> TrainingRun:
        return self.child(method=self.method, seed=self.seed, lr=lr)

    @property
    def looks(self) -> list[int]:
        """The steps after which the weights are looked at."""
        return [*range(self.keep_every, self.steps, self.keep_every), self.steps]


def measure(c: IntruderTime, lab: Lab) -> Result:
    """Train at every step size, look at W₀ + ΔW(s) along the way, and compare with when the threshold was met."""
    thresholds: list[Threshold] = []
    found: list[dict[str, Any]] = []
    scores: dict[str, Scalar] = {}
    for lr in c.step_sizes:
        delta, fit = c.run(lr).trained(keep_every=c.keep_every)
        thresholds = thresholds or thresholds_of(delta, c.max_blocks, c.k, c.epsilon)
        assert fit.trajectory is not None  # keep_every was given
        for step, phi in zip(c.looks, fit.trajectory[1:], strict=True):
            looks = looked_at(delta, phi, thresholds, c.k, c.epsilon)
            found += [{"step_size": lr, "step": step, **row} for row in looks]
        scores[f"score_at_{lr:g}"] = fit.score
    rows = pd.DataFrame(found)
    onsets = pd.DataFrame(onset_rows(rows, thresholds, max(c.known_share * c.steps, c.keep_every)))
    place = {"label": c.run(c.step_sizes[0]).how.title, "model": c.model, "task": c.task}
    tables = {"intruder_time": intruder_shares(rows).assign(**place), "intruder_onset": onsets.assign(**place)}
    return Result({"matrices": len(thresholds), **scores, **agreement(onsets, tuple(FORECASTS))}, tables)


def claims(found: Sequence[Finding[IntruderTime]]) -> list[Verdict]:
    """Both forecasts against what was seen in training time: within each run, then over trainings.

    Matrices of one run share it, and runs at several step sizes share their start, seed and batches: what is drawn anew
    is a PLM's training by a method.
    """
    onsets = pd.concat([finding.tables["intruder_onset"] for finding in found], ignore_index=True)
    onsets = onsets[onsets["along"] == STEPS].assign(seen=onset).dropna(subset="seen")
    setting = f"{subjects(found)}; {' and '.join(ROLES)} matrices; step sizes averaged"
    source, unit = "Benaych-Georges & Nadakuditi 2012, applied", "trainings (PLM and method)"
    evidence = Evidence(source, setting, "intruder_onset", unit)
    verdicts = []
    for column, claim in FORECASTS.items():
        if by_training := order_within_runs(onsets[np.isfinite(onsets[column])], column):
            quantity = "Spearman's ρ of forecast and seen step over the matrices of a run, mean over runs [1]"
            verdicts.append(evidence.above(0.0, cluster_interval(by_training), claim, quantity))
    return verdicts


_DEMO: dict[str, Any] = {"task": "bbc-news", "n_train": None, "steps": 60, "keep_every": 4}
_PAPER: dict[str, Any] = {
    "n_train": None, "n_validation": None, "steps": 1000, "batch_size": 32, "keep_every": 25, "splits": 3,
}  # fmt: skip
_MINILM: dict[str, Any] = {"model": "minilm", "n_validation": 300, "max_length": 32, "batch_size": 16} | _DEMO
_LONG_MINILM: dict[str, Any] = {"model": "minilm", "task": "bbc-news", "max_length": 128} | _PAPER

EXPERIMENT = Experiment(
    name="intruder_time",
    question="does the threshold of W₀'s spectrum, once ‖ΔW‖₂ meets it, tell when a run makes its first intruders?",
    source="Shuttleworth et al. 2024 (intruders come with large step sizes and long training); the forecast is ours, "
    "from the spiked model of Benaych-Georges & Nadakuditi 2012.",
    varied="the method (full fine-tuning, LoRA), the step size; training time within each run.",
    tuned="nothing: the step sizes are a grid about the one of `intruders`.",
    fixed="PLM, task, steps, seed; query and value matrices of at most six blocks, evenly spaced; k = 10, ε = ½.",
    expected="the step of the first intruder falls in proportion to the step size; the threshold met by the known "
    "‖ΔW‖₂ predicts it to within a third, since training follows directions of W₀ first; extrapolation from a run's "
    "start is worse.",
    cost="demo: 8 minutes on one core (MiniLM and SmolLM2). smoke: seconds.",
    view="optimisation",
    config=IntruderTime,
    scales={
        "smoke": IntruderTime(
            model="tiny-bert", task="bbc-news", method={"method": "lora", "rank": 2}, step_sizes=(1e-2, 1.0), steps=4,
            n_train=64, n_validation=32, max_length=16, batch_size=8, keep_every=1, k=2, epsilon=0.8,
        ),
        "demo": (
            IntruderTime(method=FULL, step_sizes=(1e-3, 2e-3, 4e-3, 8e-3), **_MINILM),
            IntruderTime(method=LORA, step_sizes=(1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2), **_MINILM),
            IntruderTime(
                model="smollm2", method=LORA, step_sizes=(2e-3, 4e-3, 8e-3, 1.6e-2), n_validation=100, max_length=24,
                batch_size=8, max_blocks=4, **_DEMO,
            ),
        ),
        "paper": (
            IntruderTime(method=FULL, step_sizes=(3e-5, 1e-4, 3e-4, 1e-3), **_LONG_MINILM),
            IntruderTime(method=LORA, step_sizes=(1e-3, 3e-3, 1e-2, 3e-2), **_LONG_MINILM),
            IntruderTime(
                model="smollm2", task="rotten-tomatoes", method=LORA, step_sizes=(1e-4, 3e-4, 1e-3, 3e-3),
                max_length=64, max_blocks=30, **_PAPER,
            ),
        ),
    },
    measure=measure,
    figures=("intruder_time", "intruder_onset"),
    claims=claims,
    replicates=(
        "model", "task", "batch_size", "max_length", "n_validation", "max_blocks", "keep_every", "method", "step_sizes",
        "seed",
    ),
)  # fmt: skip
