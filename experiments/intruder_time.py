"""Intruder dimensions in training time: from which step, and from which step size, does a matrix get its first?

Question: does the threshold of W₀'s spectrum, met by ‖ΔW‖₂ as it grows, say when a run makes its first intruders?
Source: Shuttleworth et al. 2024 (intruders come with large step sizes and long training); the forecast is ours, from
    the spiked model of Benaych-Georges & Nadakuditi 2012.
Varied: the method (full fine-tuning, LoRA), the step size; training time within each run.
Tuned: nothing: the step sizes are a grid about the one of `intruders`.
Fixed: PLM, task, steps, seed; query and value matrices of at most six blocks, evenly spaced; k = 10, ε = ½.
Expected: the step of the first intruder falls in proportion to the step size; the threshold met by the known ‖ΔW‖₂ says
    it within a third, since training follows directions of W₀ first; extrapolation from a run's start is worse.
Cost: demo: 8 minutes on one core (MiniLM and SmolLM2). smoke: seconds.

Two forecasts of the same moment, both from the spectrum of W₀ alone and neither with any vector of the sum W₀ + ΔW:
"known" reads ‖ΔW(s)‖₂ off the run (or off the runs of other step sizes); "extrapolated" knows it up to a quarter of the
steps (or for the smallest step size), and continues it as a power law (or in proportion).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.intruders import ROLES, studied
from experiments.training_run import RunScale, child_job, method_label, trained
from lab.deltas import Delta
from lab.geometry import extrapolated_passage, first_passage, forecast_intruder, intruder_dimensions
from lab.linalg import Spectrum
from lab.models.architecture import WeightMatrix
from lab.runs import Job, Record, Store
from lab.runs.record import Scalar
from lab.statistics import Verdict, rank_correlation_interval
from lab.statistics.intruder_onset import onset

NAME = "intruder_time"
FIGURES = ("intruder_time", "intruder_onset")

STEPS, STEP_SIZE = "training time", "step size"
"""What grows until the first intruder; the column `along`."""


@dataclass(frozen=True)
class Scale(RunScale):
    """Everything a scale fixes. `step_sizes`: per method, growing; `known_share`: of the steps, for extrapolation."""

    keep_every: int
    step_sizes: dict[str, tuple[float, ...]]
    rank: int = 8
    k: int = 10
    epsilon: float = 0.5
    max_blocks: int = 6
    known_share: float = 0.25


SCALES = {
    "smoke": (
        Scale("tiny-bert", "bbc-news", 4, 64, 32, 16, 8, 1, {"lora": (1e-2, 1.0)}, rank=2, k=2, epsilon=0.8),
    ),
    "demo": (
        Scale(
            "minilm", "bbc-news", 60, None, 300, 32, 16, 4,
            {"full": (1e-3, 2e-3, 4e-3, 8e-3), "lora": (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)},
        ),
        Scale("smollm2", "bbc-news", 60, None, 100, 24, 8, 4, {"lora": (2e-3, 4e-3, 8e-3, 1.6e-2)}, max_blocks=4),
    ),
    "paper": (
        Scale(
            "minilm", "bbc-news", 1000, None, None, 128, 32, 25,
            {"full": (3e-5, 1e-4, 3e-4, 1e-3), "lora": (1e-3, 3e-3, 1e-2, 3e-2)},
        ),
        Scale(
            "smollm2", "rotten-tomatoes", 1000, None, None, 64, 32, 25, {"lora": (1e-4, 3e-4, 1e-3, 3e-3)},
            max_blocks=30,
        ),
    ),
}  # fmt: skip


def jobs(scale: str, *, model: str | None = None, task: str | None = None, seed: int = 0) -> list[Job]:
    """One analysis per PLM and method, over all its step sizes.

    Args:
        scale: "smoke", "demo" or "paper".
        model: one PLM instead of the scale's.
        task: of every run; default: the scale's.
        seed: of the runs.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {sorted(SCALES)}.")
    chosen = [s for s in SCALES[scale] if model in (None, s.model)] or [SCALES[scale][0]]
    found = []
    for s in chosen:
        config = asdict(replace(s, model=model or s.model, task=task or s.task)) | {"seed": seed}
        rank, step_sizes = config.pop("rank"), config.pop("step_sizes")
        methods: dict[str, dict[str, Any]] = {"full": {"method": "full"}, "lora": {"method": "lora", "rank": rank}}
        found += [Job(NAME, config | {"method": methods[name], "step_sizes": lrs}) for name, lrs in step_sizes.items()]
    return found


@dataclass(frozen=True)
class _Threshold:
    """Where the spiked model sees the first intruder of a matrix.

    Attributes:
        at: the matrix.
        W0: (m, n), float64.
        base: its spectrum, with vectors.
        spike, low, high: the ‖ΔW‖₂ from which half, 10 % and 90 % of random directions have intruded.
    """

    at: WeightMatrix
    W0: Tensor
    base: Spectrum
    spike: float
    low: float
    high: float


def measure(job: Job, store: Store) -> Record:
    """Train at every step size, look at W₀ + ΔW(s) along the way, and compare with when the threshold was met."""
    c = job.config
    thresholds: list[_Threshold] = []
    found: list[dict[str, Any]] = []
    scores: dict[str, Scalar] = {}
    for lr in c["step_sizes"]:
        run = child_job(c, method=c["method"], seed=c["seed"], lr=lr)
        delta, fit = trained(run.config, keep_every=c["keep_every"])
        thresholds = thresholds or _thresholds(delta, c)
        assert fit.trajectory is not None  # keep_every was given
        steps = [*range(c["keep_every"], c["steps"], c["keep_every"]), c["steps"]]
        for step, phi in zip(steps, fit.trajectory[1:], strict=True):
            found += [{"step_size": lr, "step": step, **row} for row in _looked_at(delta, phi, thresholds, c)]
        scores[f"score_at_{lr:g}"] = fit.score
    rows = pd.DataFrame(found)
    onsets = pd.DataFrame(_onsets(rows, thresholds, c))
    place = {"label": method_label(c["method"]), "model": c["model"], "task": c["task"]}
    tables = {"intruder_time": _shares(rows).assign(**place), "intruder_onset": onsets.assign(**place)}
    return Record(job, {"matrices": len(thresholds), **scores, **_agreement(onsets)}, tables)


def _thresholds(delta: Delta, c: Mapping[str, Any]) -> list[_Threshold]:
    plm = delta.plm
    with torch.no_grad():
        names = delta.overrides(delta.phi0)
    found = []
    for m in studied(plm, names, c["max_blocks"]):
        W0 = m.of(plm.parameters[m.name]).detach().double()
        base = Spectrum.of(W0, vectors=True)
        forecast = forecast_intruder(base, 1.0, k=c["k"], epsilon=c["epsilon"])
        found.append(_Threshold(m, W0, base, forecast.strength, forecast.low, forecast.high))
    return found


def _looked_at(
    delta: Delta, phi: Tensor, thresholds: Sequence[_Threshold], c: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Per matrix at one φ: ‖ΔW‖₂, which of its thresholds that has met, and whether W₀ + ΔW has an intruder."""
    with torch.no_grad():
        overrides = delta.overrides(phi)
    for t in thresholds:
        W1 = t.at.of(overrides[t.at.name]).double()
        norm = float(torch.linalg.matrix_norm(W1 - t.W0, 2))
        seen = intruder_dimensions(t.W0, W1, c["k"], c["epsilon"], base=t.base).count > 0
        met = {"forecast": norm >= t.spike, "low": norm >= t.high, "high": norm >= t.low}
        yield {"matrix": t.at.label, "norm": norm, "with_intruder": seen, **met}


def _shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Per step size and step: which share of the matrices has an intruder, and which should."""
    columns = ["with_intruder", "forecast", "low", "high"]
    return rows.groupby(["step_size", "step"], sort=False)[columns].mean().reset_index()


def _onsets(rows: pd.DataFrame, thresholds: Sequence[_Threshold], c: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Per matrix: the first step of each run with an intruder and the least step size of the grid, each forecast."""
    by_label = {t.at.label: t for t in thresholds}
    for (matrix, step_size), part in rows.groupby(["matrix", "step_size"], sort=False):
        known = int((part["step"] <= max(c["known_share"] * c["steps"], c["keep_every"])).sum())
        place = {"along": STEPS, "matrix": matrix, "run": f"η = {step_size:g}"}
        yield place | _passages(part, "step", by_label[str(matrix)], known)
    last = rows[rows["step"] == c["steps"]]
    for matrix, part in last.groupby("matrix", sort=False):
        place = {"along": STEP_SIZE, "matrix": matrix, "run": f"{c['steps']} steps"}
        yield place | _passages(part, "step_size", by_label[str(matrix)], 1)


def _passages(part: pd.DataFrame, along: str, t: _Threshold, known: int) -> dict[str, float]:
    """When the first intruder is seen, and both forecasts; `before`: the last time looked at without one."""
    times, norms = part[along].to_numpy(float), part["norm"].to_numpy(float)
    seen = np.flatnonzero(part["with_intruder"])
    first = int(seen[0]) if len(seen) else len(times)
    return {
        "forecast": first_passage(times, norms, t.spike),
        "forecast_low": first_passage(times, norms, t.low),
        "forecast_high": first_passage(times, norms, t.high),
        "extrapolated": extrapolated_passage(times[:known], norms[:known], t.spike),
        "seen": times[first] if first < len(times) else inf,
        "before": times[first - 1] if first else 0.0,
        "tried_up_to": times[-1],
    }


def _agreement(onsets: pd.DataFrame) -> dict[str, Scalar]:
    """How far off the forecasts are, in the median, where both they and what is seen fall inside the run."""
    found: dict[str, Scalar] = {}
    for along, part in onsets.groupby("along", sort=False):
        name = str(along).replace(" ", "_")
        found[f"{name}_seen"] = int(np.isfinite(part["seen"]).sum())
        for forecast in ("forecast", "extrapolated"):
            ratio = (onset(part) / part[forecast]).where(np.isfinite(part[forecast])).dropna()
            found[f"{name}_seen_over_{forecast}"] = float(ratio.median()) if len(ratio) else None
    return found


REPLICATES = (
    "model", "task", "batch_size", "max_length", "n_validation", "max_blocks", "keep_every", "method", "step_sizes",
    "seed",
)  # fmt: skip
"""What differs between records that are judged together: the PLMs of a scale have settings of their own."""


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """Both forecasts against what was seen, over the matrices of all runs, in training time."""
    where = ", ".join(dict.fromkeys(f"{r.job.config['model']} on {r.job.config['task']}" for r in records))
    onsets = pd.concat([r.tables["intruder_onset"] for r in records], ignore_index=True)
    onsets = onsets[onsets["along"] == STEPS].assign(seen=onset).dropna(subset="seen")
    groups = onsets["model"] + onsets["label"] + onsets["run"]
    found = []
    for column, claim in (
        ("forecast", "The threshold of W₀'s spectrum, met by the known ‖ΔW‖₂, says when a matrix gets an intruder."),
        ("extrapolated", "The first quarter of a run, continued as a power law, says it in advance."),
    ):
        pairs = onsets[np.isfinite(onsets[column])]
        logs = np.log(pairs[[column, "seen"]])
        within = logs - logs.groupby(groups).transform("mean")  # step size and model order the runs, no merit
        if len(pairs) > 3 and within["seen"].std() > 0:
            found.append(
                Verdict(
                    claim=claim,
                    source="Benaych-Georges & Nadakuditi 2012, applied",
                    quantity="Spearman's ρ of forecast and seen step over matrices, each run centred [1]",
                    measured=rank_correlation_interval(list(within[column]), list(within["seen"])),
                    threshold=0.0, side="above", figure="intruder_onset",
                    setting=f"{where}; {' and '.join(ROLES)} matrices",
                )
            )  # fmt: skip
    return found


def summary(store: Store, records: list[Record]) -> str:
    """Per record and way to grow: how many matrices intrude, and how far off both forecasts are."""
    lines = []
    for record in records:
        c, m = record.job.config, record.metrics
        for along in (STEPS, STEP_SIZE):
            name = along.replace(" ", "_")
            ratios = [
                f"{m[f'{name}_seen_over_{kind}']:.2f} × the {kind} one"
                for kind in ("forecast", "extrapolated")
                if m[f"{name}_seen_over_{kind}"] is not None
            ]
            off = ", at " + " and ".join(ratios) + " (medians)" if ratios else ""
            run = f"{c['model']} on {c['task']}, {method_label(c['method'])}"
            lines.append(f"{run}, over {along}: {m[f'{name}_seen']} first intruders seen{off}")
    return "\n".join(lines)
