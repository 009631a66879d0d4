"""The intrinsic dimension d90 of adapting a PLM to a task.

Question: how many dimensions of a random subspace of all weights suffice for 90 % of full fine-tuning's score?
Source: Li et al. 2018 (d_int90); Aghajanyan et al. 2020, table 1 (DID and SAID on BERT and RoBERTa).
Varied: the subspace dimension d (searched), seeds (head, projection, order of examples).
Tuned: full fine-tuning's step size, on the first seed, over the scale's `full_lrs`; the subspace's by the rule of
    `lab.training.default_step_size`, not per dimension.
Fixed: steps, batch size, examples, sequence length; the same for every row of the figure.
Expected: pre-trained PLMs need hundreds to thousands of dimensions; the same architecture with random weights stays far
    below the line at the same d; SAID needs no more than DID.
Cost: demo: 4-6 minutes on two cores (MiniLM, bbc-news). smoke: < 20 s. paper: hours on a GPU.

Rows beside the curve: the linear probe (what the head alone reaches on frozen features) and random weights (the null of
pre-training), without which d90 says nothing about the PLM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from experiments.training_run import child_job
from experiments.training_run import measure as train
from lab.execution import Local
from lab.geometry import IntrinsicDimension, intrinsic_dimension
from lab.runs import Job, Record, Store, key
from lab.statistics import Interval, Verdict

NAME = "intrinsic_dimension"
FIGURES = ("intrinsic_dimension", "learning_curves")


@dataclass(frozen=True)
class Scale:
    """Everything a scale fixes. `full_lrs`: grid of full fine-tuning's step size (docs/intrinsic_dimension.md)."""

    model: str
    task: str
    steps: int
    n_train: int | None
    n_validation: int | None
    max_length: int
    batch_size: int = 32
    full_lrs: tuple[float, ...] = (1e-4, 2e-4)
    baseline_seeds: tuple[int, ...] = (0, 1)
    seeds: tuple[int, ...] = (0, 1)
    extra_seeds: tuple[int, ...] = ()
    start: int = 1000
    max_dimension: int = 100_000
    tolerance: float = 1.5
    max_evaluations: int = 16
    precision: str = "float32"


SCALES = {
    "smoke": Scale(
        "tiny-bert", "bbc-news", steps=4, n_train=64, n_validation=32, max_length=16, batch_size=8,
        full_lrs=(1e-3,), baseline_seeds=(0,), seeds=(0,), start=64, max_dimension=256, max_evaluations=4,
    ),
    "demo": Scale("minilm", "bbc-news", steps=60, n_train=None, n_validation=300, max_length=32, batch_size=16,
        full_lrs=(1e-4,),  # the best of four: docs/intrinsic_dimension.md
    ),
    "paper": Scale(
        "minilm", "bbc-news", steps=1000, n_train=None, n_validation=None, max_length=128,
        full_lrs=(2e-5, 5e-5, 1e-4, 2e-4), baseline_seeds=(0, 1, 2, 3, 4), seeds=(0, 1, 2),
        extra_seeds=(3, 4, 5, 6, 7), max_dimension=1_000_000,
        tolerance=1.25, max_evaluations=80,
    ),
}  # fmt: skip

PAPER_GRID = {"model": ("minilm", "smollm2"), "task": ("bbc-news", "rotten-tomatoes", "drug-reviews")}


def jobs(
    scale: str,
    *,
    model: str | None = None,
    task: str | None = None,
    method: str | None = None,
    projection: str = "fastfood",
    head: str = "inside",
    seed: int = 0,
    steps: int | None = None,
    lr: float | None = None,
    baseline: float | None = None,
) -> list[Job]:
    """One search per PLM, task and method.

    Args:
        scale: "smoke", "demo" or "paper".
        model: name for `load_plm` ("minilm", "smollm2", a hub id, a folder); default: the scale's.
        task: name or path for `load_task`; default: the scale's.
        method: "did" or "said"; default did (paper: both).
        projection: of `lab.projections`: "fastfood", "one-hot", "gaussian", "sparse".
        head: what happens to the new head: "inside" the subspace (Li et al. 2018), trained "free"ly, or "frozen".
        seed: shifts all seeds.
        steps: steps of every run; default: the scale's.
        lr: step size of every subspace run; default: the rule for d and D.
        baseline: a "global" baseline score to take 90 % of; default "local": full fine-tuning of the same PLM.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {sorted(SCALES)}.")
    base = SCALES[scale]
    if steps is not None:
        base = replace(base, steps=steps)
    grid = scale == "paper"
    models = (model,) if model else PAPER_GRID["model"] if grid else (base.model,)
    tasks = (task,) if task else PAPER_GRID["task"] if grid else (base.task,)
    methods = (method,) if method else ("did", "said") if grid else ("did",)
    found = []
    for m in models:
        for t in tasks:
            for kind in methods:
                config: dict[str, Any] = asdict(replace(base, model=m, task=t))
                config |= {"method": kind, "projection": projection, "head": head, "seed": seed, "lr": lr}
                found.append(Job(NAME, config | {"baseline": baseline}))
    return found


def measure(job: Job, store: Store) -> Record:
    """Baselines, linear probe, the search, and random weights at the found dimension."""
    runs = _Runs(job, store)
    full = runs.full_fine_tuning()
    runs.scores("linear_probe", {"method": "linear-probe"}, job.config["baseline_seeds"])
    baseline = full if job.config["baseline"] is None else [job.config["baseline"]]

    def score(d: int, seeds: Sequence[int]) -> list[float]:
        return runs.scores("subspace", runs.subspace(d), seeds, lr=job.config["lr"])

    c = job.config
    found = intrinsic_dimension(
        score,
        baseline,
        max_dimension=c["max_dimension"],
        min_dimension=runs.smallest,
        start=c["start"],
        seeds=c["seeds"],
        extra_seeds=c["extra_seeds"],
        tolerance=c["tolerance"],
        max_evaluations=c["max_evaluations"],
    )
    null_at = found.d if found.d is not None else c["max_dimension"]
    runs.scores("random_weights", runs.subspace(null_at), c["seeds"], weights="random", lr=c["lr"])
    return Record(job, _metrics(found, runs, full), {"runs": _table(job, found, runs), "history": runs.histories()})


class _Runs:
    """The child runs of one search, done once each and kept in the store."""

    def __init__(self, job: Job, store: Store):
        self.config, self.store = job.config, store
        self.rows: list[dict[str, Any]] = []
        self.records: list[tuple[str, Record]] = []

    @property
    def smallest(self) -> int:
        return 32 if self.config["method"] == "said" else 2  # SAID spends one dimension on each layer's scale

    def subspace(self, d: int) -> dict[str, Any]:
        names = ("method", "projection", "head")
        return {name: self.config[name] for name in names} | {"dimension": d}

    def full_fine_tuning(self) -> list[float]:
        """Scores of full fine-tuning over seeds, with the step size that did best on the first."""
        c = self.config
        first, *others = c["baseline_seeds"]
        tried = {lr: self.run("full", {"method": "full"}, [first], lr=lr)[0] for lr in c["full_lrs"]}
        best = max(tried, key=lambda lr: float(tried[lr].metrics["score"]))  # type: ignore[arg-type]
        return self.scores("full", {"method": "full"}, [first, *others], lr=best)

    def scores(
        self,
        kind: str,
        method: dict[str, Any],
        seeds: Sequence[int],
        weights: str = "pretrained",
        lr: float | None = None,
    ) -> list[float]:
        """Scores of one method over seeds; the runs join the table under `kind`."""
        records = self.run(kind, method, seeds, weights, lr)
        for record in records:
            m = record.metrics
            self.rows.append(
                {"kind": kind, "d": m["tunable"], "seed": record.job.config["seed"], "score": m["score"],
                 "train_seconds": m["train_seconds"], "step_size": m["step_size"], "metric": m["metric"]}
            )  # fmt: skip
        return [float(record.metrics["score"]) for record in records]  # type: ignore[arg-type]

    def run(
        self,
        kind: str,
        method: dict[str, Any],
        seeds: Sequence[int],
        weights: str = "pretrained",
        lr: float | None = None,
    ) -> list[Record]:
        """The records of one method over seeds, trained where the store does not have them yet."""
        c = self.config
        children = [
            child_job(
                c, method=method, seed=c["seed"] + seed, weights=weights, lr=lr,
                evaluations=2, precision=c["precision"],
            )
            for seed in seeds
        ]  # fmt: skip
        label = f"{kind} d={method['dimension']}" if "dimension" in method else kind
        label = label if lr is None else f"{label} lr={lr:g}"
        records = Local(self.store).run(children, train, label=label)
        known = {key(record.job) for _, record in self.records}
        self.records += [(label, record) for record in records if key(record.job) not in known]
        return records

    def mean(self, kind: str) -> float:
        return fmean(row["score"] for row in self.rows if row["kind"] == kind)

    def histories(self) -> pd.DataFrame:
        """Learning curves of all runs."""
        tables = [
            record.tables["history"].assign(
                label=label.replace("_", " "), seed=record.job.config["seed"], metric=record.metrics["metric"]
            )
            for label, record in self.records
        ]
        return pd.concat(tables, ignore_index=True)


def _metrics(found: IntrinsicDimension, runs: _Runs, full: list[float]) -> dict[str, Any]:
    native = runs.records[0][1].metrics["native"]
    return {
        "d90": found.d if found.d is not None else None,
        "d90_low": found.low,
        "d90_high": found.high if isfinite(found.high) else None,
        "line": found.line,
        "full": fmean(full),
        "linear_probe": runs.mean("linear_probe"),
        "random_weights": runs.mean("random_weights"),
        "probe_passes": runs.mean("linear_probe") >= found.line,
        "status": found.status,
        "message": found.message,
        "evaluations": found.evaluations,
        "tunable": found.d,
        "native": native,
        "train_seconds": sum(row["train_seconds"] for row in runs.rows),
    }


def _table(job: Job, found: IntrinsicDimension, runs: _Runs) -> pd.DataFrame:
    """The tidy table of the figure: one row per run, and the rows kind = fit, d90, d90_low, d90_high."""
    rows = list(runs.rows)
    rows += [{"kind": "fit", "d": d, "score": value} for d, value in found.curve]
    ends = {"d90": found.d, "d90_low": found.low, "d90_high": found.high}
    rows += [
        {"kind": kind, "d": np.nan if d is None or d == inf else d, "score": found.line} for kind, d in ends.items()
    ]
    c = job.config
    label = f"{c['method'].upper()} {c['projection']}"
    table = pd.DataFrame(rows).assign(label=label, model=c["model"], task=c["task"])
    return table.assign(metric=table["metric"].ffill())


def summary(store: Store, records: list[Record]) -> str:
    """What a person wants to read at the end of the run."""
    return "\n".join(_told(record.job.config, dict(record.metrics)) for record in records)


LOW_SHARE = 0.01
"""Share of all weights below which we call a dimension low; the papers report less than a thousandth."""


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """One per search: is d90 a small share of all weights, whole interval included?"""
    found = []
    for record in records:
        c, m = record.job.config, dict(record.metrics)
        if m["d90"] is None or str(c["model"]).startswith("tiny"):
            continue
        high = inf if m["d90_high"] is None else float(m["d90_high"])  # type: ignore[arg-type]
        shared: dict[str, Any] = {"figure": NAME, "number": 11}
        where = f"{c['method'].upper()}, {c['projection']}, {c['model']} on {c['task']}, {m['evaluations']} runs"
        native = float(m["native"])  # type: ignore[arg-type]
        share = Interval(m["d90"] / native, m["d90_low"] / native, high / native, int(m["evaluations"]))  # type: ignore
        found.append(
            Verdict(
                "Fine-tuning can be done in a subspace whose dimension is a small share of all weights.",
                "Aghajanyan et al. 2020; Ding et al. 2022, section on the optimisation view",
                "d90 / D", share, LOW_SHARE, "below", where, **shared,
            )
        )  # fmt: skip
    return found


def _told(c: dict[str, Any], m: dict[str, Any]) -> str:
    share = f"{100 * m['d90'] / m['native']:.4f} % of {m['native']:,} weights" if m["d90"] else m["message"]
    high = f"{m['d90_high']:,.0f}" if m["d90_high"] is not None else "open"
    d90 = f"{m['d90']:,}" if m["d90"] else "not reached"
    lines = [
        f"{c['model']} on {c['task']}, {c['method'].upper()} with {c['projection']}, head {c['head']}:",
        f"  d90 = {d90}  [95 % interval {m['d90_low']:,.0f} to {high}]  ({share})",
        f"  full fine-tuning {m['full']:.3f}   line at 90 % {m['line']:.3f}",
        f"  linear probe     {m['linear_probe']:.3f}   random weights at d90 {m['random_weights']:.3f}",
        f"  search: {m['status']}, {m['evaluations']} runs; {m['message']}",
    ]
    if m["probe_passes"]:
        lines.append("  note: the linear probe alone passes the line, so a freely trained head would hide d90.")
    return "\n".join(lines)
