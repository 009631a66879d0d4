"""Predicting the intrinsic dimension of a delta from the curvature of its loss, without training in subspaces.

The measured side trains in random subspaces of the delta's own vector: x -> φ₀ + P x, any delta can be restricted. The
curvature is that of all training examples, which are few, so that both sides speak of one and the same loss. Two
dimensions are searched: that of the score (d90 of the literature, above chance) and that of the training loss, which is
what a quadratic model predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from statistics import fmean
from typing import Any

import pandas as pd
import torch

from lab.geometry import intrinsic_dimension
from lab.geometry.predictions import KERNEL, beside_measured, finite_or_none, predicted, prediction_curves
from lab.statistics import Evidence, Interval, Verdict, cluster_interval
from lab.statistics.predicted_dimension import rank_agreement
from lab.study import Budget, Experiment, Finding, Lab, Result, Workload, reported, setting, with_added_biases
from lab.study.subspace_runs import SubspaceRuns
from lab.tasks.constant import constant_score

DECLARED = ("Gauss-Newton at the solution", KERNEL)
"""The two variants whose rank correlation is a claim; the others are reported beside them."""

LARGEST = 0.5
"""The largest subspace tried, as a share of the delta's own dimensions: what is known of a d90 above it."""

LORA, BITFIT = {"method": "lora", "rank": 4}, {"method": "bitfit"}
TASKS = ("bbc-news", "rotten-tomatoes", "drug-reviews", "sentence-length")


@dataclass(frozen=True, kw_only=True)
class Searching(Workload):
    """What all searches of a PLM have alike."""

    model: str = setting("name for load_plm", role="model")
    seed: int = setting("added to every seed", 0, low=0, keyed=True)
    seeds: tuple[int, ...] = setting("at every dimension", (0, 1), low=0, keyed=True)
    sentences: int = setting("the curvature is of", unit="example", low=1)
    start: int = setting("first dimension", 64, unit="dimension", low=2, keyed=True)
    hessian_steps: int = setting("products with the Hessian", low=1)
    max_evaluations: int = setting("most runs per search", 8, unit="run", low=1, keyed=True)


@dataclass(frozen=True, kw_only=True)
class Prediction(Searching, Budget):
    """One delta on one task: two searches, and every prediction."""

    method: dict[str, Any] = setting("hyperparameters of the delta method")


@dataclass(frozen=True, kw_only=True)
class Plan(Searching):
    """One search and its predictions per task and method of a PLM."""

    tasks: tuple[str, ...] = setting("names or paths for load_task", TASKS, role="task")
    methods: tuple[dict[str, Any], ...] = setting("hyperparameters of the delta methods")
    method: str = setting("one of the methods only, such as lora; all: every one", "all")
    added_biases: bool | None = setting("AddedBias for BitFit; none: by the PLM's name", None)

    def configs(self) -> tuple[Prediction, ...]:
        methods = with_added_biases(self.methods, self.model, self.added_biases)
        names = [method["method"] for method in methods]
        if self.method not in ("all", *names):
            raise ValueError(f"no measurement with the method {self.method!r}; choose one of: {', '.join(names)}")
        chosen = [method for method in methods if self.method in ("all", method["method"])]
        return tuple(self.to(Prediction, task=task, method=method) for task in self.tasks for method in chosen)


def measure(c: Prediction, lab: Lab) -> Result:
    """The whole delta, both searches in its subspaces, and every prediction."""
    runs = SubspaceRuns(c.child(method=c.method, seed=c.seed), c.seeds, lab)
    delta = runs.delta
    full = runs.whole()
    batch = runs.shared.batch(delta, c.sentences)
    options: dict[str, Any] = {
        "max_dimension": int(LARGEST * delta.size), "min_dimension": 2, "start": c.start, "seeds": c.seeds,
        "tolerance": 2.0, "max_evaluations": c.max_evaluations,
    }  # fmt: skip
    scores, chance, reference = [reported(run) for run in full], 1 / c.data.num_labels, constant_score(c.data, c.judged)
    n_examples = len(c.data.splits[c.judged]) if c.data.metric.name == "accuracy" else None
    by_score = intrinsic_dimension(
        runs.scores, scores, floor_score=chance, reference=reference, n_examples=n_examples, **options
    )
    by_loss = intrinsic_dimension(runs.recovered, [runs.share(run) for run in full], **options)
    phi = torch.from_numpy(full[0].arrays["phi"]).to(delta.phi0)
    predictions = predicted(delta, phi, batch, c.hessian_steps)
    label = f"{c.model} · {c.task} · {runs.shared.how.title}"
    metrics = {
        "d90": by_score.d, "d90_low": by_score.low, "d90_high": finite_or_none(by_score.high),
        "score_status": by_score.status, "d90_loss": by_loss.d, "loss_low": by_loss.low,
        "loss_high": finite_or_none(by_loss.high), "loss_status": by_loss.status, "full": fmean(scores),
        "floor": chance, "reference": reference, "start_loss": runs.start_loss, "full_loss": runs.full_loss,
        "step_size": runs.step_size, "exponent": runs.exponent, "tunable": delta.size, "native": delta.plm.size,
        **{f"predicted, {name}": found.d for name, found in predictions.items()},
    }  # fmt: skip
    tables = {
        "predicted_dimension": beside_measured(predictions, by_score, by_loss, delta.size),
        "d90_curves": prediction_curves(predictions, by_loss, delta.size),
        "gaps": runs.gaps(),
    }
    return Result(metrics, {name: table.assign(label=label) for name, table in tables.items()})


def measured_rows(findings: Sequence[Finding[Prediction]]) -> pd.DataFrame:
    """The predictions beside a measured dimension of the training loss."""
    table = pd.concat([f.tables["predicted_dimension"] for f in findings], ignore_index=True)
    return table[(table.measure == "training loss") & table.measured.notna()]


def controllability_correlation(rows: pd.DataFrame) -> Interval:
    """Spearman's ρ between the Gramian's participation ratio at the logits and the measured dimension, over records.

    The Gramian W = J Jᵀ of the start's logits is the tangent kernel, so its spectrum is the kernel's.
    """
    rows = rows.query("variant == @KERNEL")
    if "effective_rank" in rows:  # what records made before the two were told apart call it
        newer = rows.participation_ratio if "participation_ratio" in rows else nan
        rows = rows.assign(participation_ratio=rows.effective_rank.fillna(newer))
    return rank_agreement(rows, "participation_ratio")


UNIT = "pairs of PLM and task"
"""What is drawn at random: methods on one of them are no independent records."""


def claims(findings: Sequence[Finding[Prediction]]) -> list[Verdict]:
    """That few dimensions suffice, that curvature tells how many, and that controllability does."""
    shares: dict[str, list[float]] = {}
    for f in findings:  # a record without a reference does not say whether its baseline learned anything
        m = f.metrics
        d90 = LARGEST * float(m["tunable"]) if m["score_status"] == "above_range" else m["d90"]
        if d90 and m["score_status"] != "below_range" and "reference" in m:
            shares.setdefault(f"{f.config.model} {f.config.task}", []).append(float(d90) / float(m["tunable"]))
    named = (
        sorted({f.config.model for f in findings}),
        sorted({f.config.task for f in findings}),
        sorted({f.config.child(method=f.config.method, seed=0).how.title for f in findings}),
    )
    where = "; ".join(map(", ".join, named))
    evidence = Evidence("quadratic model (docs/curvature.md)", where, "predicted_dimension", UNIT)
    found = []
    if shares:
        few = evidence.below(
            0.1, cluster_interval(shares),
            "A delta's solutions can be found in a random subspace of few of its own dimensions.",
            "d90 / d, mean over tasks, methods averaged within each, a half where it is more; floor of d90: chance [1]",
            source="Ding et al. 2022 (low-dimensional solution space); Li et al. 2018", number=11,
        )  # fmt: skip
        found.append(few)
    rows = measured_rows(findings)
    ranked = [
        evidence.above(
            0.0, rank_agreement(own), f"The curvature spectrum ranks deltas by the dimensions they need ({variant}).",
            "Spearman's ρ between predicted and measured dimension of the training loss [1]",
        )
        for variant, own in ((str(name), part) for name, part in rows.groupby("variant", sort=False))
        if variant in DECLARED
    ]  # fmt: skip
    controlled = evidence.above(
        0.0, controllability_correlation(rows),
        "Controllability explains intrinsic dimension: the Gramian's participation ratio orders deltas as d90 does.",
        "Spearman's ρ of W's participation ratio at the logits and the dimension of the training loss [1]",
        source="controllability (docs/controllability.md)",
    )  # fmt: skip
    return [*found, *ranked, controlled]


EXPERIMENT = Experiment(
    name="predicted_dimension",
    question="does the curvature of a delta's loss, with the distance to the solution, predict how many dimensions it "
    "needs?",
    source="Li et al. 2018 (d90); Derezinski et al. 2020 (what a random subspace resolves), as `lab.geometry` "
    "joins them.",
    varied="the PLM, the task, the method, and which curvature the prediction is made from.",
    tuned="the step size of the whole delta over the rule's and a quarter of it, of a subspace over two exponents of "
    "d/k (1/2 and 3/4), by the training loss of the first seed.",
    fixed="steps, batch size, examples, sequence length, the sentences the curvature is of.",
    expected="predictions at the solution rank the deltas as the measured d90 does; the isotropic one, which has no "
    "directions, does not; all are too small, since n sentences have rank n(c - 1) at most.",
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
                model=model, methods=methods, steps=500, batch_size=32, max_length=64, n_train=256, n_validation=None,
                sentences=256, hessian_steps=100, max_evaluations=40, seeds=(0, 1, 2, 3, 4), splits=3, n_test=1000,
            )
            for model, methods in (("minilm", (LORA, BITFIT)), ("smollm2", (LORA,)))
        ),
    },
    of_classes=True,
    measure=measure,
    figures=("predicted_dimension", "d90_curves"),
    claims=claims,
    replicates=("model", "task", "method", "seed"),
)  # fmt: skip
