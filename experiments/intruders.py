"""Intruder dimensions: found, forecast, and taken out again."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lab.geometry import (
    Intruders,
    forecast_intruder,
    intruder_dimensions,
    intruder_onset,
    mitigate,
    randomly_turned,
)
from lab.linalg import Spectrum
from lab.models import PLM
from lab.models.architecture import WeightMatrix
from lab.runs.record import Scalar
from lab.statistics import Verdict, mean_interval, rank_correlation_interval
from lab.study import Budget, Experiment, Finding, Lab, Result, Solution, TrainingRun, setting, solution

ROLES = ("query", "value")
KS, EPSILONS = (1, 5, 10, 20), (0.3, 0.4, 0.5, 0.6, 0.7)


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

    def look(self, m: _Matrix, W1: Tensor) -> Intruders:
        """The intruders of a changed matrix."""
        return intruder_dimensions(m.base, W1, self.k, self.epsilon, base=m.base_spectrum)


@dataclass(frozen=True, eq=False)
class _Matrix:
    """One matrix under study: W₀, ΔW, and their spectra with vectors."""

    at: WeightMatrix
    base: Tensor
    change: Tensor
    base_spectrum: Spectrum
    update: Spectrum

    @staticmethod
    def of(m: WeightMatrix, plm: PLM, weights: Mapping[str, Tensor]) -> _Matrix:
        W0 = m.of(plm.parameters[m.name]).detach().double()
        change = m.of(weights[m.name]).detach().double() - W0
        return _Matrix(m, W0, change, Spectrum.of(W0, vectors=True), Spectrum.of(change, vectors=True))

    @property
    def place(self) -> dict[str, Any]:
        return {"matrix": self.at.label, "role": self.at.role, "block": self.at.block}

    def at_strength(self, t: float) -> Tensor:
        """W₀ + t·ΔW."""
        return self.base + t * self.change


def measure(c: IntruderSearch, lab: Lab) -> Result:
    """Train, then look for intruders in W₀ + t·ΔW over t, forecast the first, and scale them down again."""
    run = solution(c.run, lab)
    plm = run.delta.plm
    with torch.no_grad():
        weights = run.delta.overrides(run.phi)
    matrices = [_Matrix.of(m, plm, weights) for m in studied(plm, weights, c.max_blocks)]
    overlaps = _overlaps(c, matrices)
    onsets = pd.DataFrame([_onset(c, matrix) for matrix in matrices])
    strengths = _strengths(c, plm, weights, matrices, onsets)
    at = _worth_mitigating(strengths)
    tables = {
        "intruders": overlaps,
        "intruder_sweep": _sweep(overlaps),
        "intruder_forecast": onsets,
        "intruder_strength": strengths,
        "intruder_mitigation": _mitigation(c, plm, weights, matrices, at),
    }
    place = {"label": c.run.how.title, "model": c.model, "task": c.task}
    metrics = _metrics(run, matrices, onsets, strengths) | {"mitigated_at": at}
    return Result(metrics, {name: table.assign(**place) for name, table in tables.items()})


def _metrics(
    run: Solution, matrices: Sequence[_Matrix], onsets: pd.DataFrame, strengths: pd.DataFrame
) -> dict[str, Scalar]:
    finite = onsets[np.isfinite(onsets["seen"]) & np.isfinite(onsets["forecast"])]
    relative = onsets["relative_frobenius_norm"]
    return {
        **{name: run.metrics[name] for name in ("metric", "score", "tunable")},
        "quantised": str((run.delta.plm.provenance or {}).get("quantised") or ""),
        "matrices": len(matrices),
        "intruders_at_1": int(strengths.loc[strengths["strength"] == 1.0, "intruders"].sum()),
        "matrices_that_intrude": int(np.isfinite(onsets["seen"]).sum()),
        "matrices_forecast": int(np.isfinite(onsets["forecast"]).sum()),
        "median_onset": _median(onsets["seen"]),
        "median_onset_relative": _median(onsets["seen"] * relative),
        "median_onset_random_relative": _median(onsets["seen_random"] * relative),
        "median_seen_over_forecast": _median(finite["seen"] / finite["forecast"]),
        "median_seen_over_aligned": _median(onsets["seen"] / onsets["aligned"]),
    }


def studied(plm: PLM, names: Container[str], max_blocks: int) -> list[WeightMatrix]:
    """Query and value matrices among those named, of at most so many blocks, evenly spaced."""
    found = [m for m in plm.matrices(ROLES) if m.name in names]
    blocks = sorted({m.block for m in found})
    spread = {blocks[int(i)] for i in np.linspace(0, len(blocks) - 1, min(max_blocks, len(blocks))).round()}
    return [m for m in found if m.block in spread]


def _overlaps(c: IntruderSearch, matrices: Sequence[_Matrix]) -> pd.DataFrame:
    """Per matrix, strength and j: the largest overlap of u_j with W₀'s vectors; kind "random" is the null."""
    tables = []
    for n, matrix in enumerate(matrices):
        turned = randomly_turned(matrix.update, seed=n).to_dense()
        for strength in c.shown:
            for kind, change in (("tuned", matrix.change), ("random", turned)):
                W1 = matrix.base + strength * change
                found = intruder_dimensions(matrix.base, W1, max(*KS, c.k), c.epsilon, base=matrix.base_spectrum)
                table = pd.DataFrame({"overlap": found.overlaps, "sigma": found.values})
                table.insert(0, "index", np.arange(1, len(table) + 1))
                tables.append(table.assign(strength=strength, kind=kind, **matrix.place))
    return pd.concat(tables, ignore_index=True)


def _sweep(overlaps: pd.DataFrame) -> pd.DataFrame:
    """Mean count per matrix over k and ε, from the overlaps."""
    rows = [
        {"kind": kind, "strength": strength, "k": k, "epsilon": epsilon,
         "count": float((part[part["index"] <= k]["overlap"] < epsilon).groupby(part["matrix"]).sum().mean())}
        for (kind, strength), part in overlaps.groupby(["kind", "strength"], sort=False)
        for k in KS
        for epsilon in EPSILONS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _onset(c: IntruderSearch, matrix: _Matrix) -> dict[str, Any]:
    """At which strength the first intruder is forecast, and at which it is seen."""
    base, norm = matrix.base_spectrum, matrix.update.spectral_norm
    forecast = forecast_intruder(base, matrix.update, k=c.k, epsilon=c.epsilon)
    low = 0.05 * float(base.values[min(c.k, len(base.values)) - 1]) / norm
    high = 20 * base.spectral_norm / norm
    looked: dict[str, Any] = {"low": low, "high": high, "k": c.k, "epsilon": c.epsilon, "step": 2.0, "tolerance": 0.05}
    turned = randomly_turned(matrix.update, seed=1)
    return matrix.place | {
        "forecast": forecast.strength,
        "forecast_low": forecast.low,
        "forecast_high": forecast.high,
        "aligned": forecast.aligned_strength,
        "gaussian": forecast.gaussian_spike / norm,
        "seen": intruder_onset(matrix.base, matrix.change, base=base, **looked),
        "seen_random": intruder_onset(matrix.base, turned, base=base, **looked),
        "tried_up_to": high,
        "relative_frobenius_norm": matrix.update.frobenius_norm / base.frobenius_norm,
    }


def scaled(plm: PLM, weights: Mapping[str, Tensor], strength: float) -> dict[str, Tensor]:
    """θ₀ + t·Δθ; a new head, which has no θ₀ worth the name, as trained."""
    return {
        name: value if name in plm.new_names else plm.parameters[name] + strength * (value - plm.parameters[name])
        for name, value in weights.items()
    }


def _strengths(
    c: IntruderSearch, plm: PLM, weights: Mapping[str, Tensor], matrices: Sequence[_Matrix], onsets: pd.DataFrame
) -> pd.DataFrame:
    """What happens as t grows: score, intruders, matrices that have one; beside how many the forecast says."""
    forecasts = {"forecast": "forecast", "low": "forecast_high", "high": "forecast_low", "aligned": "aligned"}
    rows = []
    for t in c.strengths:
        counts = [c.look(m, m.at_strength(t)).count for m in matrices]
        rows.append(
            {"strength": t, "score": c.run.score_of(plm, scaled(plm, weights, t)), "intruders": sum(counts),
             "with_intruder": float(np.mean([n > 0 for n in counts])),
             **{name: float((onsets[column] <= t).mean()) for name, column in forecasts.items()}}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _worth_mitigating(strengths: pd.DataFrame) -> float:
    """The least strength with intruders; the last where none has any."""
    intruded = strengths[strengths["intruders"] > 0]
    return float((intruded if len(intruded) else strengths.tail(1))["strength"].iloc[0])


def _mitigation(
    c: IntruderSearch, plm: PLM, weights: Mapping[str, Tensor], matrices: Sequence[_Matrix], t: float
) -> pd.DataFrame:
    """Score over λ at one strength; λ = 1 keeps the intruders, λ = 0 removes them."""
    found = [c.look(m, m.at_strength(t)) for m in matrices]
    rows = []
    for factor in c.lambdas:
        changed, left = scaled(plm, weights, t), 0
        for m, intruders in zip(matrices, found, strict=True):
            W1 = mitigate(m.at_strength(t), intruders, factor)
            left += c.look(m, W1).count
            changed[m.at.name] = m.at.added(changed[m.at.name], (W1 - m.at_strength(t)).to(plm.dtype))
        rows.append(
            {"lambda": factor, "strength": t, "score": c.run.score_of(plm, changed), "intruders": left,
             "mitigated": sum(intruders.count for intruders in found)}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _median(values: pd.Series) -> float | None:
    """None where most are infinite: no intruder up to the largest strength tried."""
    median = float(values.fillna(inf).median()) if len(values) else inf
    return median if isfinite(median) else None


def claims(found: Sequence[Finding[IntruderSearch]]) -> list[Verdict]:
    """LoRA against full fine-tuning, and the forecast against what was seen."""
    where = ", ".join(dict.fromkeys(f"{finding.config.model} on {finding.config.task}" for finding in found))
    shared: dict[str, Any] = {
        "threshold": 0.0, "side": "above", "setting": f"{where}; {' and '.join(ROLES)} matrices",
        "figure": "intruder_forecast",
    }  # fmt: skip
    verdicts = []
    if ratios := _ratios(found):
        verdicts.append(
            Verdict(
                claim="At equal ‖ΔW‖_F/‖W₀‖_F, LoRA's updates have intruders before full fine-tuning's.",
                source="Shuttleworth et al. 2024",
                quantity="ln of full fine-tuning's over LoRA's relative norm at the first intruder, median matrix [1]",
                measured=mean_interval(ratios),
                **shared,
            )
        )
    onsets = pd.concat([finding.tables["intruder_forecast"].assign(run=n) for n, finding in enumerate(found)])
    pairs = onsets[np.isfinite(onsets["seen"]) & np.isfinite(onsets["forecast"])]
    logs = np.log(pairs[["forecast", "seen"]])
    within = logs - logs.groupby(pairs["run"]).transform("mean")  # the size of ΔW orders the runs, which is no merit
    if len(pairs):
        verdicts.append(
            Verdict(
                claim="The spectrum of W₀ and ‖ΔW‖₂ alone forecast which matrix of a run gets an intruder first.",
                source="Benaych-Georges & Nadakuditi 2012, applied",
                quantity="Spearman's ρ of forecast and seen strength over matrices, each run centred [1]",
                measured=rank_correlation_interval(list(within["forecast"]), list(within["seen"])),
                **shared,
            )
        )
    return verdicts


def _ratios(found: Sequence[Finding[IntruderSearch]]) -> list[float]:
    """ln of full fine-tuning's over LoRA's relative norm at the first intruder, run by run, where both have one."""
    full, lora = (
        [f.metrics["median_onset_relative"] for f in found if f.config.method["method"] == kind]
        for kind in ("full", "lora")
    )
    pairs = zip(full, lora, strict=False)
    return [float(np.log(a / b)) for a, b in pairs if a is not None and b is not None]


def _runs(*methods: dict[str, Any], **settings: Any) -> tuple[IntruderSearch, ...]:
    return tuple(IntruderSearch(method=method, **settings) for method in methods)


FULL, LORA = {"method": "full"}, {"method": "lora", "rank": 8}
_DEMO = {"task": "bbc-news", "n_train": None, "steps": 60}
_PAPER = {"n_train": None, "n_validation": None, "steps": 1000, "batch_size": 32}

EXPERIMENT = Experiment(
    name="intruders",
    question="from which strength of an update on do directions appear that W₀ does not know, and what are they worth?",
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
