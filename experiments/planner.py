"""Does a plan made before training beat equal ranks at the same number of parameters?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from lab.control import RULES, Survey, allocate, logarithmic_gains, plan, recommend, survey
from lab.deltas import method_from_json
from lab.models import PLM
from lab.runs.record import Scalar
from lab.statistics import Interval, Verdict, mean_interval, rank_correlation_interval
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
    open_plm,
    open_task,
    reported,
    setting,
)

TARGETS = ("query", "value")
EQUAL, RANDOM, RECOMMENDED = "equal ranks", "random ranks", "recommended"
STEP_SIZES = {"lora": 1e-2, "adapter": 1e-2, "bitfit": 1e-2, "prefix": 1e-1, "prompt": 1e-1}  # tuned: docs/planner.md


@dataclass(frozen=True, kw_only=True)
class Planner(Budget):
    """Every plan and every method at one parameter budget."""

    rank: int = setting("of LoRA with equal ranks: its r·Σ(m + n) is the budget", low=1)
    bottleneck: int = setting("of the adapter at the budget", low=1)
    tokens: int = setting("of the prefix at the budget", low=1)
    seeds: tuple[int, ...] = setting("of surveys and runs", low=0)
    survey_batch: int = setting("examples to survey on", unit="example", low=1)
    n_samples: int = setting("random vectors per estimate of a trace", low=1)

    def run(self, method: dict[str, Any], seed: int) -> TrainingRun:
        """The training run of a method; `robustness` and `reach` use the same runs."""
        return self.child(method=method, seed=seed, lr=STEP_SIZES[method["method"]])


@dataclass(frozen=True, kw_only=True)
class SurveyOf(Config):
    """What is found out before training, for one seed."""

    model: str = setting("name for load_plm", role="model")
    task: str = setting("name or path for load_task", role="task")
    rank: int = setting("of LoRA with equal ranks", low=1)
    bottleneck: int = setting("of the adapter", low=1)
    tokens: int = setting("of the prefix", low=1)
    max_length: int = setting("tokens kept per example", unit="token", low=1)
    n_train: int | None = setting("training examples to use", unit="example", low=1)
    n_validation: int | None = setting("validation examples to use", unit="example", low=1)
    survey_batch: int = setting("examples to survey on", unit="example", low=1)
    n_samples: int = setting("random vectors per estimate of a trace", low=1)
    seed: int = setting("of the head and the batch", low=0)


def methods_at_one_budget(c: Planner | SurveyOf) -> dict[str, dict[str, Any]]:
    """Four methods of nearly as many parameters: LoRA's are the budget, and none of the others exceeds it."""
    return {
        f"LoRA r = {c.rank}": {"method": "lora", "rank": c.rank},
        f"adapter r = {c.bottleneck}": {"method": "adapter", "bottleneck": c.bottleneck},
        f"prefix of {c.tokens}": {"method": "prefix", "tokens": c.tokens},
        "BitFit": {"method": "bitfit"},
    }


def measure(c: Planner, lab: Lab) -> Result:
    """Survey, plan, train every plan and every method over seeds."""
    names = ("model", "task", "rank", "bottleneck", "tokens", "max_length", "n_train", "n_validation", "survey_batch",
             "n_samples")  # fmt: skip
    shared = {name: getattr(c, name) for name in names}
    surveys = lab.run(SURVEY, [SurveyOf(**shared, seed=seed) for seed in c.seeds], "surveys")
    equal, *others = methods_at_one_budget(c)
    plans: list[tuple[str, int, str, dict[str, Any]]] = []
    for seed, surveyed in zip(c.seeds, surveys, strict=True):
        ranks = surveyed.tables["ranks"].groupby("rule", sort=False)["rank"]
        runs = {str(rule): {"method": "lora", "rank": chosen.tolist()} for rule, chosen in ranks}
        plans += [
            (name, seed, "ranks", method) for name, method in (runs | {EQUAL: methods_at_one_budget(c)[equal]}).items()
        ]
        plans += [(name, seed, "method", methods_at_one_budget(c)[name]) for name in others]
        plans.append((RECOMMENDED, seed, RECOMMENDED, json.loads(surveyed.metrics["recommended"])))
    found = lab.run(TRAINING_RUN, [c.run(method, seed) for _, seed, _, method in plans], "plans and methods")
    promises = {
        seed: {name: value for name, value in surveyed.metrics.items() if name != "recommended"}
        for seed, surveyed in zip(c.seeds, surveys, strict=True)
    }
    rows: list[dict[str, Any]] = [
        _row(run) | {"label": name, "seed": seed, "kind": kind}
        | {"promised": promises[seed].get(equal if name == EQUAL else name)}
        for (name, seed, kind, _), run in zip(plans, found, strict=True)
    ]  # fmt: skip
    table = _with_differences(pd.DataFrame(rows))
    ranked = [s.tables["ranks"].assign(seed=seed) for seed, s in zip(c.seeds, surveys, strict=True)]
    budget = int(surveys[-1].metrics["budget"])
    return Result(_metrics(table, budget), {"planner": table, "planner_ranks": pd.concat(ranked)})


def _survey(c: SurveyOf, lab: Lab) -> Result:
    """The plans of every rule for one seed's PLM, what each method promises, and what that recommends."""
    plm = open_plm(c.model, open_task(c.task).num_labels, seed=c.seed).with_attention("eager")
    loss, batch = _probe(c, plm, c.seed)
    found = survey(plm, batch, loss, targets=TARGETS, n_samples=c.n_samples, seed=c.seed)
    budget = c.rank * sum(sum(m.shape) for m in found.matrices)
    rows = [
        {"rule": rule, "matrix": m.label, "role": m.role, "block": m.block, "rank": r,
         "gramian": float(found.gramian[m.block]), "kernel": float(found.kernel[m.block]),
         "layer_score": float(found.layer_score[m.block]), "step": float(found.steps[m.block])}
        for rule, chosen in _plans(found, budget, c.seed).items()
        for m, r in zip(found.matrices, chosen, strict=True)
    ]  # fmt: skip
    candidates = {label: method_from_json(method) for label, method in methods_at_one_budget(c).items()}
    made = recommend(plm, candidates, batch, loss, budget, seed=c.seed)
    metrics: dict[str, Scalar] = {"budget": budget, **made.promises, "recommended": json.dumps(made.method.to_json())}
    return Result(metrics, {"ranks": pd.DataFrame(rows)})


def _probe(c: SurveyOf, plm: PLM, seed: int) -> tuple[Any, dict[str, torch.Tensor]]:
    """The loss and a training batch to survey on; training sees other batches first (another seed's order)."""
    task = open_task(c.task, c.n_train, c.n_validation)
    encoded = task.encode(plm, max_length=c.max_length)
    return task.loss, encoded.train.training_batch(0, c.survey_batch, seed + 1000)


def _plans(found: Survey, budget: int, seed: int) -> dict[str, tuple[int, ...]]:
    """Label -> the ranks of every matrix: each rule's, and random ones (exponential scores)."""
    plans = {f"by {rule}": plan(found, rule, budget).ranks for rule in RULES}
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(len(found.matrices), generator=generator, dtype=torch.float64)
    costs = [sum(m.shape) for m in found.matrices]
    plans[RANDOM] = allocate(logarithmic_gains(-draws.log(), min(costs) // 2), costs, budget).ranks
    return plans


def _row(run: Finding[TrainingRun]) -> dict[str, Any]:
    m, loss = run.metrics, float(final(run.tables["history"])["loss"])
    parameters = int(m["tunable"]) - int(m["head"])
    return {"score": reported(run), "metric": m["metric"], "loss": loss, "parameters": parameters,
            "train_seconds": m["train_seconds"]}  # fmt: skip


def _with_differences(table: pd.DataFrame) -> pd.DataFrame:
    """Columns loss_difference and score_difference: beside equal ranks with the same seed."""
    equal = table[table.label == EQUAL].set_index("seed")
    return table.assign(
        loss_difference=table.loss - table.seed.map(equal.loss),
        score_difference=table.score - table.seed.map(equal.score),
    )


def _metrics(table: pd.DataFrame, budget: int) -> dict[str, Any]:
    planned = table[(table.kind == "ranks") & ~table.label.isin([EQUAL, RANDOM])]
    means = planned.groupby("label", sort=False).loss_difference.mean()
    return {
        "budget": budget,
        "best_rule": str(means.idxmin()),
        "best_loss_difference": float(means.min()),
        "random_loss_difference": float(table[table.label == RANDOM].loss_difference.mean()),
        "tunable": budget,
        "train_seconds": float(table.train_seconds.sum()),
    }


def _difference(table: pd.DataFrame, label: str) -> Interval:
    return mean_interval(table[table.label == label].sort_values("seed").loss_difference.tolist())


def claims(findings: Sequence[Finding[Planner]]) -> list[Verdict]:
    """Do the rules, and what is recommended, lower the loss beside equal ranks; does the promise order the methods?"""
    c = findings[0].config
    table = pd.concat([finding.tables["planner"] for finding in findings]).drop_duplicates(["label", "seed"])
    shared: dict[str, Any] = {"source": "docs/planner.md", "figure": "planner", "threshold": 0.0, "side": "below"}

    def setting(rows: pd.DataFrame) -> str:
        seeds = ", ".join(map(str, sorted(rows.seed.unique())))
        return f"{c.model}, {c.task}, {c.steps} steps, seeds {seeds}"

    compared = {f"by {rule}": f"ranks shared out by {rule} beat" for rule in RULES}
    compared[RECOMMENDED] = "the method, layers and ranks that the planner recommends beat a LoRA with"
    found = [
        Verdict(
            claim=f"{words} equal ranks at the same number of parameters",
            quantity="validation loss beside equal ranks, paired by seed [nats]",
            measured=_difference(table, label), setting=setting(table[table.label == label]), **shared,
        )
        for label, words in compared.items()
        if (table.label == label).any()
    ]  # fmt: skip
    methods = table[table.promised.notna()].groupby("label", sort=False)[["promised", "loss"]].mean()
    found.append(
        Verdict(
            claim="the method that promises the larger fall at the start ends with the smaller loss",
            quantity="Spearman's rank correlation of promised fall and final loss over methods",
            measured=rank_correlation_interval(methods.promised.tolist(), methods.loss.tolist()),
            setting=setting(table), **shared,
        )
    )  # fmt: skip
    return found


SURVEY = Experiment(
    name="planner_survey",
    question="what do the rules say of each matrix, and what does each method promise, before training?",
    view="control",
    config=SurveyOf,
    measure=_survey,
)
SCALES = {
    "smoke": Planner(
        model="tiny-bert", task="bbc-news", rank=2, tokens=3, bottleneck=1, steps=3, batch_size=8, seeds=(0, 1),
        max_length=16, n_train=64, n_validation=32, survey_batch=8, n_samples=2,
    ),
    "demo": Planner(
        model="minilm", task="bbc-news", rank=3, tokens=6, bottleneck=2, steps=30, batch_size=16, seeds=(0, 1, 2),
        max_length=32, n_train=None, n_validation=200, survey_batch=8, n_samples=4,
    ),
    "paper": Planner(
        model="minilm", task="bbc-news", rank=3, tokens=6, bottleneck=2, steps=1000, batch_size=32,
        seeds=tuple(range(10)), max_length=128, n_train=None, n_validation=None, survey_batch=64, n_samples=32,
    ),
}  # fmt: skip

EXPERIMENT = Experiment(
    name="planner",
    question="do Gramian traces, the delta's kernel, layer scores or gradient spectra say where LoRA's ranks belong?",
    source="docs/planner.md; layer scores after Li et al. 2017 (successive approximations), water-filling by hand.",
    varied="the rule that shares out the ranks (four rules, equal ranks, random ranks), the method, and what "
    "`recommend` makes of both; seeds.",
    tuned="step size per method, on a seed that is not reported (docs/planner.md); the same for every LoRA.",
    fixed="PLM, task, parameter budget, steps, batch size, examples.",
    expected="rules that know the labels (kernel, layer score, spectrum) lower the loss beside equal ranks; "
    "random ranks do not; the method that promises the largest fall at the start ends with the smallest loss.",
    cost="demo: about 10 minutes on one core (MiniLM, three seeds). smoke: seconds.",
    view="control",
    config=Planner,
    scales=SCALES,
    measure=measure,
    figures=("planner", "planner_ranks"),
    claims=claims,
    replicates=("seeds",),
)
