"""Predicting the intrinsic dimension of a delta from the curvature of its loss, without training in subspaces.

Question: does the curvature of a delta's loss, with the distance to the solution, tell how many dimensions it needs?
Source: Li et al. 2018 (d90); Derezinski et al. 2020 (what a random subspace resolves), as `lab.geometry` joins them.
Varied: the PLM, the task, the method, and which curvature the prediction is made from.
Tuned: the step size of the whole delta over `MULTIPLES`, of a subspace over two exponents of d/k (`EXPONENTS`), by the
    training loss of the first seed.
Fixed: steps, batch size, examples, sequence length, the sentences the curvature is of.
Expected: predictions at the solution rank the deltas as the measured d90 does; the isotropic one, which knows no
    direction, does not; all are too small, since n sentences have rank n(c - 1) at most.
Cost: demo: about 7 minutes on two cores (MiniLM, 4 tasks, 2 methods); SmolLM2 about 15 minutes a task. smoke: seconds.

The measured side trains in random subspaces of the delta's own vector: x -> φ₀ + P x, any delta can be restricted. The
curvature is that of all training examples, which are few, so that both sides speak of one and the same loss. Two
dimensions are searched: that of the score (d90 of the literature, above chance) and that of the training loss, which is
what a quadratic model predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from experiments.training_run import analysed, final, fixed_batch, method_label, subset, training_job, with_added_biases
from experiments.training_run import measure as train
from lab.deltas import Delta
from lab.execution import Local
from lab.geometry import (
    IntrinsicDimension,
    PredictedDimension,
    covariance_factor,
    factor_spectrum,
    gauss_newton_factor,
    gauss_newton_target,
    intrinsic_dimension,
    kernel_factor,
    kernel_target,
    krylov_spectrum,
    output_jacobian,
    predicted_intrinsic_dimension,
)
from lab.linalg import RecordedHessian
from lab.runs import Job, Record, Store
from lab.statistics import Interval, Verdict, mean_interval, rank_correlation_interval
from lab.training import default_step_size

NAME = "predicted_dimension"
FIGURES = ("predicted_dimension", "d90_curves")

VARIANTS = {
    "Gauss-Newton at the solution": "curvature and displacement where training ends",
    "Gauss-Newton at the start": "curvature at φ₀, displacement to where training ends",
    "Gauss-Newton at the start, no training": "curvature at φ₀, displacement to the model's own solution",
    "kernel at the start, no training": "tangent kernel and residual at φ₀",
    "Hessian at the solution": "as the first, with the logits' own curvature",
    "Hessian at the start": "as the second, with the logits' own curvature",
    "gradient covariance at the start": "second moment of the gradients in place of a curvature",
    "Gauss-Newton at the start, isotropic": "curvature at φ₀ alone, every direction alike",
}
KERNEL = "kernel at the start, no training"
DECLARED = ("Gauss-Newton at the solution", KERNEL)
"""The two variants whose rank correlation is a claim; the others are reported beside them."""

EXPONENTS = (0.5, 0.75)
"""Exponents p of the subspace's step size η·(d/k)^p: moving as far as the whole delta does, and further."""


MULTIPLES = (1.0, 0.25)
"""Step sizes of the whole delta, in units of the rule for d and D, which was found on MiniLM."""

Methods = tuple[dict[str, Any], ...]
METHODS: Methods = ({"method": "lora", "rank": 4}, {"method": "bitfit"})
TASKS = ("bbc-news", "rotten-tomatoes", "drug-reviews", "sentence-length")


@dataclass(frozen=True)
class Scale:
    """Everything a scale fixes: (model, tasks, methods) groups; `hessian_steps`: products with the Hessian."""

    groups: tuple[tuple[str, tuple[str, ...], Methods], ...]
    steps: int
    batch_size: int
    max_length: int
    n_train: int | None
    n_validation: int
    sentences: int
    hessian_steps: int
    start: int = 64
    max_evaluations: int = 8
    seeds: tuple[int, ...] = (0, 1)


SCALES = {
    "smoke": Scale(
        (("tiny-bert", TASKS[:1], ({"method": "lora", "rank": 1},)),), steps=4, batch_size=8, max_length=8, n_train=64,
        n_validation=32, sentences=8, hessian_steps=4, start=16, max_evaluations=4, seeds=(0,),
    ),
    "demo": Scale(
        (("minilm", TASKS, METHODS),), steps=40, batch_size=8, max_length=16, n_train=32, n_validation=64,
        sentences=32, hessian_steps=10, start=256, seeds=(0,),
    ),
    "paper": Scale(
        (("minilm", TASKS, METHODS), ("smollm2", TASKS, METHODS[:1])), steps=500, batch_size=32, max_length=64,
        n_train=256, n_validation=1000, sentences=256, hessian_steps=100, max_evaluations=40, seeds=(0, 1, 2, 3, 4),
    ),
}  # fmt: skip


def jobs(
    scale: str,
    *,
    model: str | None = None,
    task: str | None = None,
    method: str | None = None,
    seed: int = 0,
    added_biases: bool | None = None,
) -> list[Job]:
    """One search and its predictions per PLM, task and method.

    Args:
        scale: "smoke", "demo" or "paper".
        model: name for `load_plm`, in place of the scale's.
        task: one task only, in place of the scale's.
        method: one method only, such as "lora"; default: all of the scale's.
        seed: shifts all seeds.
        added_biases: `AddedBias` instead of BitFit, for families without biases; default: by the PLM's name.

    Raises:
        ValueError: a method that the scale has none of.
    """
    s = SCALES[scale]
    groups = s.groups if model is None else ((model, s.groups[-1][1], s.groups[-1][2]),)
    groups = tuple((plm, tasks, with_added_biases(methods, plm, added_biases)) for plm, tasks, methods in groups)
    found = []
    for plm, tasks, methods in groups:
        for t in (task,) if task else tasks:
            for m in methods:
                if method not in (None, m["method"]):
                    continue
                shared = {"steps": s.steps, "batch_size": s.batch_size, "max_length": s.max_length}
                config = {
                    "model": plm, "task": t, "method": m, "seed": seed, **shared, "n_train": s.n_train,
                    "n_validation": s.n_validation, "seeds": s.seeds, "sentences": s.sentences, "start": s.start,
                    "hessian_steps": s.hessian_steps, "max_evaluations": s.max_evaluations,
                }  # fmt: skip
                found.append(Job(NAME, config))
    if not found:
        names = sorted({m["method"] for _, _, methods in groups for m in methods})
        raise ValueError(f"no job with method {method!r}; scale {scale!r} has {names}.")
    return found


def measure(job: Job, store: Store) -> Record:
    """The whole delta, both searches in its subspaces, and every prediction."""
    runs = _Runs(job, store)
    c, delta = job.config, runs.delta
    full = runs.whole()
    batch = fixed_batch(runs.shared, delta, c["sentences"])
    chance = 1 / subset(c["task"], c["n_train"], c["n_validation"]).num_labels
    options: dict[str, Any] = {
        "max_dimension": delta.size // 2, "min_dimension": 2, "start": c["start"], "seeds": tuple(c["seeds"]),
        "tolerance": 2.0, "max_evaluations": c["max_evaluations"],
    }  # fmt: skip
    by_score = intrinsic_dimension(runs.scores, [_score(record) for record in full], floor_score=chance, **options)
    by_loss = intrinsic_dimension(runs.recovered, [1.0], **options)
    phi = torch.from_numpy(full[0].arrays["phi"]).to(delta.phi0)
    predictions = predicted(delta, phi, batch, c["hessian_steps"])
    label = f"{c['model']} · {c['task']} · {method_label(c['method'])}"
    metrics = {
        "d90": by_score.d, "d90_low": by_score.low, "d90_high": _finite(by_score.high), "score_status": by_score.status,
        "d90_loss": by_loss.d, "loss_low": by_loss.low, "loss_high": _finite(by_loss.high),
        "loss_status": by_loss.status,
        "full": fmean(_score(record) for record in full), "start_loss": runs.start_loss,
        "full_loss": runs.full_loss, "step_size": runs.step_size,
        "exponent": runs.exponent, "tunable": delta.size, "native": delta.plm.size,
        **{f"predicted, {name}": found.d for name, found in predictions.items()},
    }  # fmt: skip
    tables = {
        "predicted_dimension": _scatter(label, predictions, by_score, by_loss, delta.size),
        "d90_curves": _curves(label, predictions, by_loss, delta.size),
        "gaps": runs.gaps(label),
    }
    return Record(job, metrics, tables)


def predicted(delta: Delta, phi: Tensor, batch: dict[str, Tensor], hessian_steps: int) -> dict[str, PredictedDimension]:
    """d90 curves from each variant of curvature and displacement; a variant that has no curvature is left out."""
    labels, e = batch["labels"], phi - delta.phi0
    logits, J = output_jacobian(delta, delta.phi0, batch)
    newton = factor_spectrum(gauss_newton_factor(logits, J))
    kernel = factor_spectrum(kernel_factor(logits, J))
    covariance = factor_spectrum(covariance_factor(logits, J, labels))
    end_logits, end_J = output_jacobian(delta, phi, batch)
    end = factor_spectrum(gauss_newton_factor(end_logits, end_J))

    def hessian(at: Tensor) -> RecordedHessian:
        return RecordedHessian(lambda x: cross_entropy(delta.logits(x, batch), labels), at)

    pairs: dict[str, tuple[Any, Any]] = {
        "Gauss-Newton at the solution": (end.eigenvalues, end.coordinates(e)),
        "Gauss-Newton at the start": (newton.eigenvalues, newton.coordinates(e)),
        "Gauss-Newton at the start, no training": (
            newton.eigenvalues, newton.solution_coordinates(gauss_newton_target(logits, labels)),
        ),
        "kernel at the start, no training": (
            kernel.eigenvalues, kernel.solution_coordinates(kernel_target(logits, labels)),
        ),
        "Hessian at the solution": krylov_spectrum(hessian(phi), e, hessian_steps),
        "Hessian at the start": krylov_spectrum(hessian(delta.phi0), e, hessian_steps),
        "gradient covariance at the start": (covariance.eigenvalues, covariance.coordinates(e)),
        "Gauss-Newton at the start, isotropic": (newton.eigenvalues, None),
    }  # fmt: skip
    found = {}
    for name, (values, coordinates) in pairs.items():
        given = None if coordinates is None else np.asarray(coordinates)
        if float(np.max(np.asarray(values))) > 0:
            found[name] = predicted_intrinsic_dimension(np.asarray(values), given, D=delta.size)
    return found


class _Runs:
    """The training runs of one search, done once each and kept in the store."""

    def __init__(self, job: Job, store: Store):
        self.config, self.store = job.config, store
        names = ("model", "task", "method", "steps", "batch_size", "max_length", "n_train", "n_validation", "seed")
        self.shared = {**{name: self.config[name] for name in names}, "weights": "pretrained"}
        self.delta = analysed(self.shared)
        self.records: list[Record] = []
        size, native = self.delta.size, max(self.delta.plm.size, self.delta.size)
        self.step_size = default_step_size(size, native)
        self.exponent = EXPONENTS[0]
        self._tuned = False
        self.full_loss = self.start_loss = nan

    def whole(self) -> list[Record]:
        """The delta itself over seeds, and the training losses that "recovered" is measured between."""
        seeds, rule = self.config["seeds"], self.step_size
        tried = {rule * multiple: _loss(self._run(None, seeds[:1], rule * multiple)[0]) for multiple in MULTIPLES}
        self.step_size = min(tried, key=tried.__getitem__)
        records = self._run(None, seeds, self.step_size)
        self.full_loss = fmean(_loss(record) for record in records)
        batch = fixed_batch(self.shared, self.delta, self.config["n_validation"])
        with torch.no_grad():
            logits = self.delta.logits(self.delta.phi0, batch)
        self.start_loss = float(cross_entropy(logits, batch["labels"]))
        return records

    def scores(self, d: int, seeds: Sequence[int]) -> list[float]:
        return [_score(record) for record in self._subspace(d, seeds)]

    def recovered(self, d: int, seeds: Sequence[int]) -> list[float]:
        """Share of the training loss recovered: 0 at the start, 1 where the whole delta ends."""
        fall = self.start_loss - self.full_loss
        return [(self.start_loss - _loss(record)) / fall for record in self._subspace(d, seeds)]

    def _subspace(self, d: int, seeds: Sequence[int]) -> list[Record]:
        if not self._tuned:  # once, on the first dimension and seed
            self._tuned = True
            tried = {p: _loss(self._run(d, seeds[:1], self._step_size(d, p))[0]) for p in EXPONENTS}
            self.exponent = min(tried, key=tried.__getitem__)
        return self._run(d, seeds, self._step_size(d, self.exponent))

    def _step_size(self, d: int, exponent: float) -> float:
        return self.step_size * (self.delta.size / d) ** exponent

    def _run(self, d: int | None, seeds: Sequence[int], step: float) -> list[Record]:
        c = self.config
        children = [
            training_job(**{**self.shared, "seed": c["seed"] + seed}, lr=step, subspace=d, evaluations=1)
            for seed in seeds
        ]
        label = "whole delta" if d is None else f"subspace d={d} lr={step:.2g}"
        records = Local(self.store).run(children, train, label=label)
        self.records += [record for record in records if record.job not in [known.job for known in self.records]]
        return records

    def gaps(self, label: str) -> pd.DataFrame:
        """Validation minus training loss of every run, beside √(d/n), the rate of Aghajanyan et al. 2020."""
        n = len(subset(self.config["task"], self.config["n_train"], self.config["n_validation"]).train)
        rows = [
            {"label": label, "d": record.metrics["tunable"], "n": n, "gap": _loss(record, "validation") - _loss(record),
             "rate": (record.metrics["tunable"] / n) ** 0.5}  # type: ignore[operator]
            for record in self.records
        ]  # fmt: skip
        return pd.DataFrame(rows)


def _score(record: Record) -> float:
    return float(record.metrics["score"])  # type: ignore[arg-type]


def _loss(record: Record, split: str = "train") -> float:
    return float(final(record.tables["history"], split)["loss"])


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _scatter(
    label: str,
    predictions: dict[str, PredictedDimension],
    by_score: IntrinsicDimension,
    by_loss: IntrinsicDimension,
    size: int,
) -> pd.DataFrame:
    """One row per variant and measure of what is recovered."""
    rows = []
    for measured, name in ((by_loss, "training loss"), (by_score, "score")):
        ends = [nan if end in (inf, 0) else end for end in (measured.low, measured.high)]
        d = nan if measured.d is None or measured.status == "below_range" else measured.d
        for variant, found in predictions.items():
            rows.append(
                {"label": label, "variant": variant, "measure": name, "predicted": found.d, "measured": d,
                 "low": ends[0], "high": ends[1], "size": size, "effective_rank": found.participation_ratio}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _curves(
    label: str, predictions: dict[str, PredictedDimension], by_loss: IntrinsicDimension, size: int
) -> pd.DataFrame:
    """Recovered share of the loss against d: every prediction, and every run."""
    rows = [
        {"label": label, "kind": "predicted", "variant": variant, "d": d, "share": share}
        for variant, found in predictions.items()
        for d, share in found.curve
        if d <= size and d <= 4 * max(by_loss.scores)
    ]
    rows += [
        {"label": label, "kind": "measured", "variant": "training runs", "d": d, "share": share}
        for d, shares in by_loss.scores.items()
        for share in shares
    ]
    return pd.DataFrame(rows)


def correlations(records: list[Record], measure: str) -> dict[str, Interval]:
    """Spearman's ρ between predicted and measured dimension over records, per variant; unmeasured ones left out."""
    table = pd.concat([record.tables["predicted_dimension"] for record in records], ignore_index=True)
    table = table[(table.measure == measure) & table.measured.notna()]
    return {
        str(variant): rank_correlation_interval(rows.predicted.tolist(), rows.measured.tolist())
        for variant, rows in table.groupby("variant", sort=False)
    }


def controllability_correlation(records: list[Record]) -> Interval:
    """Spearman's ρ between the effective rank of the Gramian at the logits and the measured dimension, over records.

    The Gramian W = J Jᵀ of the start's logits is the tangent kernel, so its spectrum is the kernel's.
    """
    table = pd.concat([record.tables["predicted_dimension"] for record in records], ignore_index=True)
    rows = table[(table.variant == KERNEL) & (table.measure == "training loss") & table.measured.notna()]
    return rank_correlation_interval(rows.effective_rank.tolist(), rows.measured.tolist())


REPLICATES = ("model", "task", "method", "seed")
"""What differs between records that are judged together."""


def verdicts(records: list[Record]) -> list[Verdict]:
    """That few dimensions suffice, that curvature tells how many, and that controllability does."""
    known = [r.metrics for r in records if r.metrics["d90"] and r.metrics["score_status"] != "below_range"]
    shares = [float(m["d90"]) / float(m["tunable"]) for m in known]  # type: ignore[arg-type]
    tasks = sorted({r.job.config["task"] for r in records})
    methods = sorted({method_label(r.job.config["method"]) for r in records})
    models = sorted({r.job.config["model"] for r in records})
    setting = f"{', '.join(models)}; {', '.join(tasks)}; {', '.join(methods)}"
    found = []
    if shares:
        few = Verdict(
            claim="A delta's solutions can be found in a random subspace of few of its own dimensions.",
            source="Ding et al. 2022 (low-dimensional solution space); Li et al. 2018",
            quantity="d90 / d, mean over tasks and methods [1]", measured=mean_interval(shares), threshold=0.1,
            side="below", setting=setting, figure="predicted_dimension", number=11,
        )  # fmt: skip
        found.append(few)
    for variant, interval in correlations(records, "training loss").items():
        if variant in DECLARED:
            ranks = Verdict(
                claim=f"The curvature spectrum ranks deltas by the dimensions they need ({variant}).",
                source="quadratic model (docs/curvature.md)",
                quantity="Spearman's ρ between predicted and measured dimension of the training loss [1]",
                measured=interval, threshold=0.0, side="above", setting=setting, figure="predicted_dimension",
            )  # fmt: skip
            found.append(ranks)
    controlled = Verdict(
        claim="Controllability explains intrinsic dimension: the Gramian's effective rank orders deltas as d90 does.",
        source="optimal-control view (docs/controllability.md)",
        quantity="Spearman's ρ of W's effective rank at the logits and the dimension of the training loss [1]",
        measured=controllability_correlation(records), threshold=0.0, side="above", setting=setting,
        figure="predicted_dimension", number=11,
    )  # fmt: skip
    return [*found, controlled]


def summary(store: Store, records: list[Record]) -> str:
    """Measured dimensions, and how each variant ranks them."""
    lines = []
    for record in records:
        m, c = record.metrics, record.job.config
        lines.append(
            f"{c['model']:10s} {c['task']:16s} {method_label(c['method']):16s} d = {m['tunable']:,}: d90 of the score "
            f"{m['d90']} ({m['score_status']}), of the training loss {m['d90_loss']} ({m['loss_status']})"
        )
    for measure_name in ("training loss", "score"):
        lines.append(f"Spearman's ρ of predicted and measured dimension of the {measure_name}:")
        for variant, found in correlations(records, measure_name).items():
            lines.append(f"  {variant:42s} {found.estimate:5.2f} [{found.low:5.2f}, {found.high:5.2f}] n = {found.n}")
    return "\n".join(lines)
