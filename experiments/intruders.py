"""Intruder dimensions: found, forecast, and taken out again.

Question: from which strength of an update on do directions appear that W₀ does not know, and what are they worth?
Source: Shuttleworth et al. 2024 (detection, mitigation; LoRA against full fine-tuning); the forecast is ours, from the
    spiked model of Benaych-Georges & Nadakuditi 2012.
Varied: the method (full fine-tuning, LoRA), the strength t of θ₀ + t·Δθ (for LoRA: α), k and ε, mitigation's λ.
Tuned: full fine-tuning's step size on MiniLM (docs/intrinsic_dimension.md); LoRA's by the rule for d and D (2e-3 on
    SmolLM2, not tuned).
Fixed: PLM, task, steps, seed; query and value matrices of at most six blocks, evenly spaced; a new head as trained.
Expected: LoRA's updates intrude at a smaller relative strength than full fine-tuning's; the forecast orders the
    matrices; taking intruders out costs little at λ near 1.
Cost: demo: 2 minutes (MiniLM) and 4 minutes (SmolLM2) on two cores. smoke: seconds.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.training_run import RunScale, child_job, solution, validation_score
from lab.geometry import forecast_intruder, intruder_dimensions, intruder_onset, mitigate, randomly_turned
from lab.linalg import Spectrum
from lab.models import PLM
from lab.models.architecture import WeightMatrix
from lab.runs import Job, Record, Store
from lab.runs.record import Scalar
from lab.statistics import Verdict, mean_interval, rank_correlation_interval

NAME = "intruders"
FIGURES = ("intruders", "intruder_sweep", "intruder_forecast", "intruder_strength", "intruder_mitigation")

ROLES = ("query", "value")
LABELS = {"full": "full fine-tuning", "lora": "LoRA r = 8"}
KS, EPSILONS = (1, 5, 10, 20), (0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True)
class Scale(RunScale):
    """Everything a scale fixes. `k`, `epsilon`: the paper's; `strengths`: t of the score curve, `shown` of overlaps."""

    methods: tuple[dict[str, Any], ...] = ({"method": "full"}, {"method": "lora", "rank": 8})
    k: int = 10
    epsilon: float = 0.5
    max_blocks: int = 6
    strengths: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    shown: tuple[float, ...] = (1.0, 8.0, 64.0)
    lambdas: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    full_lr: float = 1e-4
    lora_lr: float | None = None


SCALES = {
    "smoke": (
        Scale(
            "tiny-bert", "bbc-news", 3, 64, 32, 16, 8, k=2, epsilon=0.8, strengths=(0.0, 1.0, 64.0), shown=(1.0, 64.0),
            methods=({"method": "full"}, {"method": "lora", "rank": 2}), lambdas=(0.0, 1.0),
        ),
    ),
    "demo": (
        Scale("minilm", "bbc-news", 60, None, 300, 32, 16),
        Scale(
            "smollm2", "bbc-news", 60, None, 100, 24, 8, max_blocks=4, strengths=(0.0, 1.0, 8.0, 64.0),
            lambdas=(0.0, 1.0), lora_lr=2e-3,
        ),
    ),
    "paper": (
        Scale("minilm", "bbc-news", 1000, None, None, 128, 32),
        Scale("smollm2", "rotten-tomatoes", 1000, None, None, 64, 32, max_blocks=30),
    ),
}  # fmt: skip


def jobs(scale: str, *, model: str | None = None, task: str | None = None, seed: int = 0) -> list[Job]:
    """One analysis per PLM and method.

    Args:
        scale: "smoke", "demo" or "paper".
        model: one PLM instead of the scale's.
        task: of every run; default: the scale's.
        seed: of the runs.
    """
    chosen = [s for s in SCALES[scale] if model in (None, s.model)] or [SCALES[scale][0]]
    found = []
    for s in chosen:
        config = asdict(replace(s, model=model or s.model, task=task or s.task)) | {"seed": seed}
        methods = config.pop("methods")
        found += [Job(NAME, config | {"method": method}) for method in methods]
    return found


@dataclass(frozen=True, eq=False)
class _Matrix:
    """One matrix under study: W₀, ΔW, and their spectra with vectors."""

    at: WeightMatrix
    base: Tensor
    change: Tensor
    base_spectrum: Spectrum
    update: Spectrum

    @property
    def place(self) -> dict[str, Any]:
        return {"matrix": self.at.label, "role": self.at.role, "block": self.at.block}


def measure(job: Job, store: Store) -> Record:
    """Train, then look for intruders in W₀ + t·ΔW over t, forecast the first, and scale them down again."""
    c = job.config
    lr = c["full_lr"] if c["method"]["method"] == "full" else c["lora_lr"]
    child = child_job(c, method=c["method"], seed=c["seed"], lr=lr)
    run = solution(child, store)
    plm, label = run.delta.plm, LABELS[c["method"]["method"]]
    with torch.no_grad():
        overrides = run.delta.overrides(run.phi)
    matrices = _matrices(plm, overrides, c["max_blocks"])
    overlaps = _overlaps(matrices, c)
    onsets = pd.DataFrame([_onset(matrix, c) for matrix in matrices])
    strengths = _strengths(child, plm, overrides, matrices, onsets, c)
    at = _worth_mitigating(strengths)
    mitigation = _mitigation(child, plm, overrides, matrices, at, c)
    tables = {
        "intruders": overlaps,
        "intruder_sweep": _sweep(overlaps),
        "intruder_forecast": onsets,
        "intruder_strength": strengths,
        "intruder_mitigation": mitigation,
    }
    tables = {n: t.assign(label=label, model=c["model"], task=c["task"]) for n, t in tables.items()}
    finite = onsets[np.isfinite(onsets["seen"]) & np.isfinite(onsets["forecast"])]
    metrics: dict[str, Scalar] = {
        "metric": run.metrics["metric"],
        "score": run.metrics["score"],
        "tunable": run.metrics["tunable"],
        "quantised": str((plm.provenance or {}).get("quantised") or ""),
        "matrices": len(matrices),
        "intruders_at_1": int(strengths.loc[strengths["strength"] == 1.0, "intruders"].sum()),
        "matrices_that_intrude": len(onsets[np.isfinite(onsets["seen"])]),
        "matrices_forecast": len(onsets[np.isfinite(onsets["forecast"])]),
        "median_onset": _median(onsets["seen"]),
        "median_onset_relative": _median(onsets["seen"] * onsets["relative_frobenius_norm"]),
        "median_onset_random_relative": _median(onsets["seen_random"] * onsets["relative_frobenius_norm"]),
        "median_seen_over_forecast": _median(finite["seen"] / finite["forecast"]),
        "median_seen_over_aligned": _median(onsets["seen"] / onsets["aligned"]),
        "mitigated_at": at,
    }
    return Record(job, metrics, tables)


def studied(plm: PLM, names: Container[str], max_blocks: int) -> list[WeightMatrix]:
    """Query and value matrices among those named, of at most so many blocks, evenly spaced."""
    found = [m for m in plm.matrices(ROLES) if m.name in names]
    blocks = sorted({m.block for m in found})
    spread = {blocks[int(i)] for i in np.linspace(0, len(blocks) - 1, min(max_blocks, len(blocks))).round()}
    return [m for m in found if m.block in spread]


def _matrices(plm: PLM, overrides: Mapping[str, Tensor], max_blocks: int) -> list[_Matrix]:
    result = []
    for m in studied(plm, overrides, max_blocks):
        W0 = m.of(plm.parameters[m.name]).detach().double()
        change = m.of(overrides[m.name]).detach().double() - W0
        spectra = Spectrum.of(W0, vectors=True), Spectrum.of(change, vectors=True)
        result.append(_Matrix(m, W0, change, *spectra))
    return result


def _overlaps(matrices: Sequence[_Matrix], c: Mapping[str, Any]) -> pd.DataFrame:
    """Per matrix, strength and j: the largest overlap of u_j with W₀'s vectors; kind "random" is the null."""
    tables = []
    for n, matrix in enumerate(matrices):
        turned = randomly_turned(matrix.update, seed=n).to_dense()
        for strength in c["shown"]:
            for kind, change in (("tuned", matrix.change), ("random", turned)):
                W1 = matrix.base + strength * change
                found = intruder_dimensions(matrix.base, W1, max(*KS, c["k"]), c["epsilon"], base=matrix.base_spectrum)
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


def _onset(matrix: _Matrix, c: Mapping[str, Any]) -> dict[str, Any]:
    """At which strength the first intruder is forecast, and at which it is seen."""
    k, epsilon, base, norm = c["k"], c["epsilon"], matrix.base_spectrum, matrix.update.spectral_norm
    forecast = forecast_intruder(base, matrix.update, k=k, epsilon=epsilon)
    low = 0.05 * float(base.values[min(k, len(base.values)) - 1]) / norm
    high = 20 * base.spectral_norm / norm
    turned = randomly_turned(matrix.update, seed=1)
    seen, seen_random = (
        intruder_onset(
            matrix.base, change, low=low, high=high, k=k, epsilon=epsilon, step=2.0, tolerance=0.05, base=base
        )
        for change in (matrix.change, turned)
    )
    return matrix.place | {
        "forecast": forecast.strength,
        "forecast_low": forecast.low,
        "forecast_high": forecast.high,
        "aligned": forecast.aligned_strength,
        "gaussian": forecast.gaussian_spike / norm,
        "seen": seen,
        "seen_random": seen_random,
        "tried_up_to": high,
        "relative_frobenius_norm": matrix.update.frobenius_norm / base.frobenius_norm,
    }


def scaled(plm: PLM, overrides: Mapping[str, Tensor], strength: float) -> dict[str, Tensor]:
    """θ₀ + t·Δθ; a new head, which has no θ₀ worth the name, as trained."""
    return {
        name: value if name in plm.new_names else plm.parameters[name] + strength * (value - plm.parameters[name])
        for name, value in overrides.items()
    }


def _strengths(
    child: Job,
    plm: PLM,
    overrides: Mapping[str, Tensor],
    matrices: Sequence[_Matrix],
    onsets: pd.DataFrame,
    c: Mapping[str, Any],
) -> pd.DataFrame:
    """What happens as t grows: score, intruders, matrices that have one; beside how many the forecast says."""
    rows = []
    for t in c["strengths"]:
        counts = [
            intruder_dimensions(m.base, m.base + t * m.change, c["k"], c["epsilon"], base=m.base_spectrum).count
            for m in matrices
        ]
        rows.append(
            {"strength": t, "score": validation_score(child, plm, scaled(plm, overrides, t)),
             "intruders": sum(counts), "with_intruder": float(np.mean([n > 0 for n in counts])),
             "forecast": float((onsets["forecast"] <= t).mean()), "low": float((onsets["forecast_high"] <= t).mean()),
             "high": float((onsets["forecast_low"] <= t).mean()), "aligned": float((onsets["aligned"] <= t).mean())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _worth_mitigating(strengths: pd.DataFrame) -> float:
    """The least strength with intruders; the last where none has any."""
    intruded = strengths[strengths["intruders"] > 0]
    return float((intruded if len(intruded) else strengths.tail(1))["strength"].iloc[0])


def _mitigation(
    child: Job,
    plm: PLM,
    overrides: Mapping[str, Tensor],
    matrices: Sequence[_Matrix],
    strength: float,
    c: Mapping[str, Any],
) -> pd.DataFrame:
    """Score over λ at one strength; λ = 1 keeps the intruders, λ = 0 removes them."""
    weights = scaled(plm, overrides, strength)
    k, epsilon = c["k"], c["epsilon"]
    tuned = {m.at.label: m.base + strength * m.change for m in matrices}
    found = {
        m.at.label: intruder_dimensions(m.base, tuned[m.at.label], k, epsilon, base=m.base_spectrum) for m in matrices
    }
    rows = []
    for factor in c["lambdas"]:
        changed, left = dict(weights), 0
        for m in matrices:
            W1 = mitigate(tuned[m.at.label], found[m.at.label], factor)
            left += intruder_dimensions(m.base, W1, k, epsilon, base=m.base_spectrum).count
            step = (W1 - tuned[m.at.label]).to(plm.dtype)
            changed[m.at.name] = m.at.added(changed[m.at.name], step)
        rows.append(
            {"lambda": factor, "strength": strength, "score": validation_score(child, plm, changed),
             "intruders": left, "mitigated": sum(f.count for f in found.values())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _median(values: pd.Series) -> float | None:
    """None where most are infinite: no intruder up to the largest strength tried."""
    median = float(values.fillna(inf).median()) if len(values) else inf
    return median if isfinite(median) else None


REPLICATES = (
    "model", "task", "batch_size", "max_length", "n_validation", "max_blocks", "strengths", "lambdas", "lora_lr",
    "method", "seed",
)  # fmt: skip
"""What differs between records that are judged together: the PLMs of a scale have settings of their own."""


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """LoRA against full fine-tuning, and the forecast against what was seen."""
    where = ", ".join(dict.fromkeys(f"{r.job.config['model']} on {r.job.config['task']}" for r in records))
    shared: dict[str, Any] = {"setting": f"{where}; {' and '.join(ROLES)} matrices", "figure": "intruder_forecast"}
    onsets = pd.concat([r.tables["intruder_forecast"].assign(run=n) for n, r in enumerate(records)])
    pairs = onsets[np.isfinite(onsets["seen"]) & np.isfinite(onsets["forecast"])]
    logs = np.log(pairs[["forecast", "seen"]])
    within = logs - logs.groupby(pairs["run"]).transform("mean")  # the size of ΔW orders the runs, which is no merit
    found = []
    by_method = {
        kind: [r.metrics["median_onset_relative"] for r in records if r.job.config["method"]["method"] == kind]
        for kind in LABELS
    }
    ratios = [
        float(np.log(full / lora))
        for full, lora in zip(by_method["full"], by_method["lora"], strict=False)
        if isinstance(full, float) and isinstance(lora, float)
    ]
    if ratios:
        found.append(
            Verdict(
                claim="At equal ‖ΔW‖_F/‖W₀‖_F, LoRA's updates have intruders before full fine-tuning's.",
                source="Shuttleworth et al. 2024",
                quantity="ln of full fine-tuning's over LoRA's relative norm at the first intruder, median matrix [1]",
                measured=mean_interval(ratios), threshold=0.0, side="above", **shared,
            )
        )  # fmt: skip
    if len(pairs):
        found.append(
            Verdict(
                claim="The spectrum of W₀ and ‖ΔW‖₂ alone forecast which matrix of a run gets an intruder first.",
                source="Benaych-Georges & Nadakuditi 2012, applied",
                quantity="Spearman's ρ of forecast and seen strength over matrices, each run centred [1]",
                measured=rank_correlation_interval(list(within["forecast"]), list(within["seen"])),
                threshold=0.0, side="above", **shared,
            )
        )  # fmt: skip
    return found


def summary(store: Store, records: list[Record]) -> str:
    """Per run: intruders at t = 1, where the first appears, and how far off the forecast is."""
    lines = []
    for record in records:
        c, m = record.job.config, record.metrics
        onset = f"t = {m['median_onset']:.2g}" if m["median_onset"] else "not seen"
        ratio = m["median_seen_over_forecast"]
        lines.append(
            f"{c['model']} on {c['task']}, {LABELS[c['method']['method']]}: {m['intruders_at_1']} intruders at t = 1 "
            f"in {m['matrices']} matrices; the median matrix gets its first at {onset}"
            + (f", {ratio:.2f} × the forecast" if ratio else "")
        )
    return "\n".join(lines)
