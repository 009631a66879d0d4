"""Does a plan made before training beat equal ranks at the same number of parameters?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lab.control import RULES, recommend, survey
from lab.control.planned_ranks import planned_ranks
from lab.deltas import method_from_json
from lab.runs.record import Scalar
from lab.statistics import Evidence, Verdict, mean_interval, rank_correlation_interval
from lab.statistics.planner import EQUAL, beside_equal_ranks, planner_metrics
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
from lab.study.amounts import scored_examples

TARGETS = ("query", "value")
RECOMMENDED = "recommended"
STEP_SIZES = {"lora": 1e-2, "adapter": 1e-2, "bitfit": 1e-2, "prefix": 1e-1, "prompt": 1e-1}  # tuned: docs/planner.md


@dataclass(frozen=True, kw_only=True)
class Surveying(Config):
    """Methods at one parameter budget, and how they are surveyed before training."""

    rank: int = setting("of LoRA with equal ranks: its r·Σ(m + n) is the budget", low=1)
    bottleneck: int = setting("of the adapter at the budget", low=1)
    tokens: int = setting("of the prefix at the budget", low=1)
    survey_batch: int = setting("examples to survey on", unit="example", low=1)
    n_samples: int = setting("random vectors per estimate of a trace", low=1)


@dataclass(frozen=True, kw_only=True)
class Planner(Surveying, Budget):
    """Every plan and every method at one parameter budget."""

    seeds: tuple[int, ...] = setting("of surveys and runs", low=0)

    def run(self, method: dict[str, Any], seed: int) -> TrainingRun:
        """The training run of a method; `robustness` and `reach` use the same runs."""
        return self.child(method=method, seed=seed, lr=STEP_SIZES[method["method"]])


@dataclass(frozen=True, kw_only=True)
class SurveyOf(Surveying):
    """What is found out before training, for one seed."""

    model: str = setting("name for load_plm", role="model")
    task: str = setting("name or path for load_task", role="task")
    max_length: int = setting("tokens kept per example", unit="token", low=1)
    n_train: int | None = setting("most training examples to use; none: all", unit="example", low=1)
    n_validation: int | None = scored_examples("most validation examples to use; none: all")
    seed: int = setting("of the head and the batch", low=0)


def methods_at_one_budget(c: Surveying) -> dict[str, dict[str, Any]]:
    """Four methods of nearly as many parameters: LoRA's are the budget, and none of the others exceeds it."""
    return {
        f"LoRA r = {c.rank}": {"method": "lora", "rank": c.rank},
        f"adapter r = {c.bottleneck}": {"method": "adapter", "bottleneck": c.bottleneck},
        f"prefix of {c.tokens}": {"method": "prefix", "tokens": c.tokens},
        "BitFit": {"method": "bitfit"},
    }


def measure(c: Planner, lab: Lab) -> Result:
    """Survey, plan, train every plan and every method over seeds."""
    surveys = lab.run(SURVEY, [c.to(SurveyOf, seed=seed) for seed in c.seeds], "surveys")
    methods = methods_at_one_budget(c)
    equal, *others = methods
    plans: list[tuple[str, int, str, dict[str, Any], Any]] = []  # label, seed, kind, method, promised fall
    for seed, surveyed in zip(c.seeds, surveys, strict=True):
        promised = surveyed.metrics
        ranks = surveyed.tables["ranks"].groupby("rule", sort=False)["rank"]
        plans += [(str(rule), seed, "ranks", methods[equal] | {"rank": r.tolist()}, None) for rule, r in ranks]
        plans.append((EQUAL, seed, "ranks", methods[equal], promised.get(equal)))
        plans += [(name, seed, "method", methods[name], promised.get(name)) for name in others]
        plans.append((RECOMMENDED, seed, RECOMMENDED, json.loads(promised[RECOMMENDED]), None))
    found = lab.run(TRAINING_RUN, [c.run(method, seed) for _, seed, _, method, _ in plans], "plans and methods")
    rows = [
        _row(run) | {"label": name, "seed": seed, "kind": kind, "promised": promise}
        for (name, seed, kind, _, promise), run in zip(plans, found, strict=True)
    ]
    table = beside_equal_ranks(pd.DataFrame(rows))
    ranked = [s.tables["ranks"].assign(seed=seed) for seed, s in zip(c.seeds, surveys, strict=True)]
    budget = int(surveys[-1].metrics["budget"])
    return Result(planner_metrics(table, budget), {"planner": table, "planner_ranks": pd.concat(ranked)})


def _survey(c: SurveyOf, lab: Lab) -> Result:
    """The plans of every rule for one seed's PLM, what each method promises, and what that recommends."""
    plm = open_plm(c.model, open_task(c.task).num_labels, seed=c.seed).with_attention("eager")
    task = open_task(c.task, c.n_train, c.n_validation)
    encoded = task.encode(plm, max_length=c.max_length).train
    batch = encoded.training_batch(0, c.survey_batch, c.seed + 1000)  # training sees other batches first
    found = survey(plm, batch, task.loss, targets=TARGETS, n_samples=c.n_samples, seed=c.seed)
    budget = c.rank * sum(sum(m.shape) for m in found.matrices)
    candidates = {label: method_from_json(method) for label, method in methods_at_one_budget(c).items()}
    made = recommend(plm, candidates, batch, task.loss, budget, seed=c.seed)
    metrics: dict[str, Scalar] = {"budget": budget, **made.promises, RECOMMENDED: json.dumps(made.method.to_json())}
    return Result(metrics, {"ranks": planned_ranks(found, budget, c.seed)})


def _row(run: Finding[TrainingRun]) -> dict[str, Any]:
    m, loss = run.metrics, float(final(run.tables["history"])["loss"])
    parameters = int(m["tunable"]) - int(m["head"])
    return {"score": reported(run), "metric": m["metric"], "loss": loss, "parameters": parameters,
            "train_seconds": m["train_seconds"]}  # fmt: skip


def claims(findings: Sequence[Finding[Planner]]) -> list[Verdict]:
    """Do the rules, and what is recommended, lower the loss beside equal ranks; does the promise order the methods?"""
    c = findings[0].config
    table = pd.concat([finding.tables["planner"] for finding in findings]).drop_duplicates(["label", "seed"])

    def evidence(rows: pd.DataFrame) -> Evidence:
        seeds = ", ".join(map(str, sorted(rows.seed.unique())))
        setting = f"{c.model}, {c.task}, {c.steps} steps, seeds {seeds}"
        return Evidence("planner (docs/planner.md)", setting, "planner", "seeds")

    compared = {f"by {rule}": f"ranks shared out by {rule} beat" for rule in RULES}
    compared[RECOMMENDED] = "the method, layers and ranks that the planner recommends beat a LoRA with"
    found = [
        evidence(rows).below(
            0.0, mean_interval(rows.sort_values("seed").loss_difference.tolist()),
            f"{words} equal ranks at the same number of parameters",
            "validation loss beside equal ranks, paired by seed [nats]",
        )
        for label, words in compared.items()
        if len(rows := table[table.label == label])
    ]  # fmt: skip
    methods = table[table.promised.notna()].groupby("label", sort=False)[["promised", "loss"]].mean()
    promise = evidence(table).below(
        0.0, rank_correlation_interval(methods.promised.tolist(), methods.loss.tolist()),
        "the method that promises the larger fall at the start ends with the smaller loss",
        "Spearman's rank correlation of promised fall and final loss over methods [1]", unit="methods",
    )  # fmt: skip
    return [*found, promise]


SURVEY = Experiment(
    name="planner_survey",
    question="what do the rules say about each matrix, and what does each method promise, before training?",
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
        splits=3,
    ),
}  # fmt: skip

EXPERIMENT = Experiment(
    name="planner",
    question="do Gramian traces, the delta's kernel, layer scores or gradient spectra say where LoRA's ranks belong?",
    source="docs/planner.md; layer scores after Li et al. 2017 (successive approximations), water-filling by hand.",
    varied="the rule that allocates the ranks (four rules, equal ranks, random ranks), the method, and what "
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
