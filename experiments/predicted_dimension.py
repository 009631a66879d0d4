"""Predicting the intrinsic dimension of a delta from the curvature of its loss, without training in subspaces.

The measured side trains in random subspaces of the delta's own vector: x -> φ₀ + P x, any delta can be restricted. The
curvature is that of all training examples, which are few, so that both sides speak of one and the same loss. Two
dimensions are searched: that of the score (d90 of the literature, above chance) and that of the training loss, which is
what a quadratic model predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import inf, isfinite, nan
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lab.deltas import Delta
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
from lab.statistics import Interval, Verdict, cluster_interval, stratified_rank_correlation
from lab.study import (
    TRAINING_RUN,
    Budget,
    Config,
    Experiment,
    Finding,
    Lab,
    Result,
    TrainingRun,
    final,
    reported,
    setting,
    with_added_biases,
)
from lab.tasks.constant import constant_score
from lab.training import default_step_size

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

LORA, BITFIT = {"method": "lora", "rank": 4}, {"method": "bitfit"}
TASKS = ("bbc-news", "rotten-tomatoes", "drug-reviews", "sentence-length")


@dataclass(frozen=True, kw_only=True)
class Prediction(Budget):
    """One delta on one task: two searches, and every prediction."""

    method: dict[str, Any] = setting("hyperparameters of the delta method")
    seed: int = setting("added to every seed", low=0)
    seeds: tuple[int, ...] = setting("at every dimension", low=0)
    sentences: int = setting("the curvature is of", unit="example", low=1)
    start: int = setting("first dimension", unit="dimension", low=2)
    hessian_steps: int = setting("products with the Hessian", low=1)
    max_evaluations: int = setting("most runs per search", unit="run", low=1)


@dataclass(frozen=True, kw_only=True)
class Plan(Config):
    """One search and its predictions per task and method of a PLM."""

    model: str = setting("name for load_plm", role="model")
    tasks: tuple[str, ...] = setting("names or paths for load_task", TASKS, role="task")
    methods: tuple[dict[str, Any], ...] = setting("hyperparameters of the delta methods")
    method: str = setting("one of the methods only, such as lora; all: every one", "all")
    seed: int = setting("added to every seed", 0, low=0)
    added_biases: bool | None = setting("AddedBias for BitFit; none: by the PLM's name", None)
    steps: int = setting("AdamW steps", unit="step", low=1)
    batch_size: int = setting("examples per step", unit="example", low=1)
    max_length: int = setting("tokens kept per example", unit="token", low=1)
    n_train: int | None = setting("training examples to use", unit="example", low=1)
    n_validation: int | None = setting("validation examples to score on", unit="example", low=1)
    splits: int = setting("3: choose on a part of the training data, report on what was held out", 2, choices=(2, 3))
    n_test: int | None = setting("with three splits: test examples, or all where there are fewer", None, low=1)
    sentences: int = setting("the curvature is of", unit="example", low=1)
    hessian_steps: int = setting("products with the Hessian", low=1)
    start: int = setting("first dimension", 64, unit="dimension", low=2)
    max_evaluations: int = setting("most runs per search", 8, unit="run", low=1)
    seeds: tuple[int, ...] = setting("at every dimension", (0, 1), low=0)

    def configs(self) -> tuple[Prediction, ...]:
        methods = with_added_biases(self.methods, self.model, self.added_biases)
        names = [method["method"] for method in methods]
        if self.method not in ("all", *names):
            raise ValueError(f"no measurement with the method {self.method!r}; choose one of: {', '.join(names)}")
        shared = {e.name: getattr(self, e.name) for e in fields(Prediction) if e.name not in ("task", "method")}
        return tuple(
            Prediction(task=task, method=method, **shared)
            for task in self.tasks
            for method in methods
            if self.method in ("all", method["method"])
        )


def measure(c: Prediction, lab: Lab) -> Result:
    """The whole delta, both searches in its subspaces, and every prediction."""
    runs = _Runs(c, lab)
    delta = runs.delta
    full = runs.whole()
    batch = runs.shared.batch(delta, c.sentences)
    options: dict[str, Any] = {
        "max_dimension": delta.size // 2, "min_dimension": 2, "start": c.start, "seeds": c.seeds, "tolerance": 2.0,
        "max_evaluations": c.max_evaluations,
    }  # fmt: skip
    judged = "validation" if c.data.test is None else "test"
    chance, reference = 1 / c.data.num_labels, constant_score(c.data, judged)
    by_score = intrinsic_dimension(
        runs.scores, [reported(run) for run in full], floor_score=chance, reference=reference,
        n_examples=len(c.data.splits[judged]) if c.data.metric.name == "accuracy" else None, **options,
    )  # fmt: skip
    by_loss = intrinsic_dimension(runs.recovered, [runs.share(run) for run in full], **options)
    phi = torch.from_numpy(full[0].arrays["phi"]).to(delta.phi0)
    predictions = predicted(delta, phi, batch, c.hessian_steps)
    label = f"{c.model} · {c.task} · {runs.shared.how.title}"
    metrics = {
        "d90": by_score.d, "d90_low": by_score.low, "d90_high": _finite(by_score.high), "score_status": by_score.status,
        "d90_loss": by_loss.d, "loss_low": by_loss.low, "loss_high": _finite(by_loss.high),
        "loss_status": by_loss.status,
        "full": fmean(reported(run) for run in full), "floor": chance, "reference": reference,
        "start_loss": runs.start_loss,
        "full_loss": runs.full_loss, "step_size": runs.step_size,
        "exponent": runs.exponent, "tunable": delta.size, "native": delta.plm.size,
        **{f"predicted, {name}": found.d for name, found in predictions.items()},
    }  # fmt: skip
    tables = {
        "predicted_dimension": _scatter(label, predictions, by_score, by_loss, delta.size),
        "d90_curves": _curves(label, predictions, by_loss, delta.size),
        "gaps": runs.gaps(label),
    }
    return Result(metrics, tables)


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

    def __init__(self, c: Prediction, lab: Lab):
        self.c, self.lab = c, lab
        self.shared = c.child(method=c.method, seed=c.seed)
        self.delta = self.shared.analysed()
        self.found: list[Finding[TrainingRun]] = []
        size, native = self.delta.size, max(self.delta.plm.size, self.delta.size)
        self.step_size = default_step_size(size, native)
        self.exponent = EXPONENTS[0]
        self._tuned = False
        self.full_loss = self.start_loss = nan

    def whole(self) -> list[Finding[TrainingRun]]:
        """The delta itself over seeds, and the training losses that "recovered" is measured between."""
        seeds, sizes = self.c.seeds, [self.step_size * multiple for multiple in MULTIPLES]
        tried = self._run("step size of the whole delta", [self._child(None, seeds[0], size) for size in sizes])
        self.step_size = min(zip(sizes, tried, strict=True), key=lambda pair: _loss(pair[1]))[0]
        runs = self._run("whole delta", [self._child(None, seed, self.step_size) for seed in seeds])
        self.full_loss = fmean(_loss(run) for run in runs)
        batch = self.shared.batch(self.delta, self.c.n_validation or 10**9)
        with torch.no_grad():
            logits = self.delta.logits(self.delta.phi0, batch)
        self.start_loss = float(cross_entropy(logits, batch["labels"]))
        return runs

    def scores(self, d: int, seeds: Sequence[int]) -> list[float]:
        return [reported(run) for run in self._subspace(d, seeds)]

    def recovered(self, d: int, seeds: Sequence[int]) -> list[float]:
        """Share of the training loss recovered: 0 at the start, 1 where the whole delta ends."""
        return [self.share(run) for run in self._subspace(d, seeds)]

    def share(self, run: Finding[TrainingRun]) -> float:
        """Share of the training loss that a run recovered; 1 on average over the runs of the whole delta."""
        return (self.start_loss - _loss(run)) / (self.start_loss - self.full_loss)

    def _subspace(self, d: int, seeds: Sequence[int]) -> list[Finding[TrainingRun]]:
        if not self._tuned:  # once, on the first dimension and seed
            self._tuned = True
            tried = self._run("step size", [self._child(d, seeds[0], self._step_size(d, p)) for p in EXPONENTS])
            self.exponent = min(zip(EXPONENTS, tried, strict=True), key=lambda pair: _loss(pair[1]))[0]
        size = self._step_size(d, self.exponent)
        return self._run(f"subspace d={d} lr={size:.2g}", [self._child(d, seed, size) for seed in seeds])

    def _step_size(self, d: int, exponent: float) -> float:
        return self.step_size * (self.delta.size / d) ** exponent

    def _child(self, d: int | None, seed: int, lr: float) -> TrainingRun:
        return replace(self.shared, seed=self.c.seed + seed, lr=lr, subspace=d)

    def _run(self, label: str, children: Sequence[TrainingRun]) -> list[Finding[TrainingRun]]:
        runs = self.lab.run(TRAINING_RUN, children, label)
        self.found += [run for run in runs if run.record.job not in [known.record.job for known in self.found]]
        return runs

    def gaps(self, label: str) -> pd.DataFrame:
        """Validation minus training loss of every run, beside √(d/n), the rate of Aghajanyan et al. 2020."""
        n = len(self.c.data.train)
        rows = [
            {"label": label, "d": run.metrics["tunable"], "n": n, "gap": _loss(run, "validation") - _loss(run),
             "rate": (run.metrics["tunable"] / n) ** 0.5}
            for run in self.found
        ]  # fmt: skip
        return pd.DataFrame(rows)


def _loss(run: Finding[TrainingRun], split: str = "train") -> float:
    return float(final(run.tables["history"], split)["loss"])


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
                 "low": ends[0], "high": ends[1], "size": size, "participation_ratio": found.participation_ratio}
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


def correlations(findings: Sequence[Finding[Prediction]], measure: str) -> dict[str, Interval]:
    """Spearman's ρ between predicted and measured dimension over records, per variant; unmeasured ones left out."""
    table = _measured(findings, measure)
    return {str(variant): _correlation(rows, "predicted") for variant, rows in table.groupby("variant", sort=False)}


def _measured(findings: Sequence[Finding[Prediction]], measure: str) -> pd.DataFrame:
    """The rows with a measured dimension, and the PLM and task of each: its methods are no independent records."""
    tables = [
        finding.tables["predicted_dimension"].assign(unit=f"{finding.config.model} {finding.config.task}")
        for finding in findings
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[(table.measure == measure) & table.measured.notna()]


def _correlation(rows: pd.DataFrame, column: str) -> Interval:
    """Spearman's ρ of a column and the measured dimension; the units are PLMs and tasks."""
    return stratified_rank_correlation(
        rows[column].tolist(), rows.measured.tolist(), strata=[""] * len(rows), units=rows.unit.tolist()
    )


def controllability_correlation(findings: Sequence[Finding[Prediction]]) -> Interval:
    """Spearman's ρ between the Gramian's participation ratio at the logits and the measured dimension, over records.

    The Gramian W = J Jᵀ of the start's logits is the tangent kernel, so its spectrum is the kernel's.
    """
    rows = _measured(findings, "training loss").query("variant == @KERNEL")
    old = "effective_rank"  # what records made before the two were told apart call it
    return _correlation(rows, "participation_ratio" if "participation_ratio" in rows else old)


def claims(findings: Sequence[Finding[Prediction]]) -> list[Verdict]:
    """That few dimensions suffice, that curvature tells how many, and that controllability does."""
    shares: dict[str, list[float]] = {}
    for f in findings:  # a record without a reference does not say whether its baseline learned anything
        m = f.metrics
        if m["d90"] and m["score_status"] != "below_range" and "reference" in m:
            shares.setdefault(f"{f.config.model} {f.config.task}", []).append(float(m["d90"]) / float(m["tunable"]))
    tasks = sorted({f.config.task for f in findings})
    methods = sorted({f.config.child(method=f.config.method, seed=0).how.title for f in findings})
    models = sorted({f.config.model for f in findings})
    where = f"{', '.join(models)}; {', '.join(tasks)}; {', '.join(methods)}"
    found = []
    if shares:
        few = Verdict(
            claim="A delta's solutions can be found in a random subspace of few of its own dimensions.",
            source="Ding et al. 2022 (low-dimensional solution space); Li et al. 2018",
            quantity="d90 / d, mean over tasks, methods averaged within each; floor of d90: chance [1]",
            measured=cluster_interval(shares), threshold=0.1,
            side="below", setting=where, figure="predicted_dimension", number=11,
        )  # fmt: skip
        found.append(few)
    for variant, interval in correlations(findings, "training loss").items():
        if variant in DECLARED:
            ranks = Verdict(
                claim=f"The curvature spectrum ranks deltas by the dimensions they need ({variant}).",
                source="quadratic model (docs/curvature.md)",
                quantity="Spearman's ρ between predicted and measured dimension of the training loss [1]",
                measured=interval, threshold=0.0, side="above", setting=where, figure="predicted_dimension",
            )  # fmt: skip
            found.append(ranks)
    controlled = Verdict(
        claim="Controllability explains intrinsic dimension: the Gramian's participation ratio orders deltas as d90 "
        "does.",
        source="optimal-control view (docs/controllability.md)",
        quantity="Spearman's ρ of W's participation ratio at the logits and the dimension of the training loss [1]",
        measured=controllability_correlation(findings), threshold=0.0, side="above", setting=where,
        figure="predicted_dimension", number=11,
    )  # fmt: skip
    return [*found, controlled]


EXPERIMENT = Experiment(
    name="predicted_dimension",
    question="does the curvature of a delta's loss, with the distance to the solution, tell how many dimensions "
    "it needs?",
    source="Li et al. 2018 (d90); Derezinski et al. 2020 (what a random subspace resolves), as `lab.geometry` "
    "joins them.",
    varied="the PLM, the task, the method, and which curvature the prediction is made from.",
    tuned="the step size of the whole delta over `MULTIPLES`, of a subspace over two exponents of d/k "
    "(`EXPONENTS`), by the training loss of the first seed.",
    fixed="steps, batch size, examples, sequence length, the sentences the curvature is of.",
    expected="predictions at the solution rank the deltas as the measured d90 does; the isotropic one, which "
    "knows no direction, does not; all are too small, since n sentences have rank n(c - 1) at most.",
    cost="demo: about 7 minutes on two cores (MiniLM, 4 tasks, 2 methods); SmolLM2 about 15 minutes a task. "
    "smoke: seconds.",
    view="optimisation",
    config=Prediction,
    scales={
        "smoke": Plan(
            model="tiny-bert", tasks=TASKS[:1], methods=({"method": "lora", "rank": 1},), steps=4, batch_size=8,
            max_length=8, n_train=64, n_validation=32, sentences=8, hessian_steps=4, start=16, max_evaluations=4,
            seeds=(0,),
        ),
        "demo": Plan(
            model="minilm", methods=(LORA, BITFIT), steps=40, batch_size=8, max_length=16, n_train=32, n_validation=64,
            sentences=32, hessian_steps=10, start=256, seeds=(0,),
        ),
        "paper": tuple(
            Plan(
                model=model, methods=methods, steps=500, batch_size=32, max_length=64, n_train=256, n_validation=1000,
                sentences=256, hessian_steps=100, max_evaluations=40, seeds=(0, 1, 2, 3, 4),
            )
            for model, methods in (("minilm", (LORA, BITFIT)), ("smollm2", (LORA,)))
        ),
    },
    measure=measure,
    figures=("predicted_dimension", "d90_curves"),
    claims=claims,
    replicates=("model", "task", "method", "seed"),
)  # fmt: skip
