"""Does a plan made before training beat equal ranks at the same number of parameters?

Question: do Gramian traces, the delta's kernel, layer scores or gradient spectra say where LoRA's ranks belong?
Source: docs/planner.md; layer scores after Li et al. 2017 (successive approximations), water-filling by hand.
Varied: the rule that shares out the ranks (four rules, equal ranks, random ranks), the method, and what `recommend`
    makes of both; seeds.
Tuned: step size per method, on a seed that is not reported (docs/planner.md); the same for every LoRA.
Fixed: PLM, task, parameter budget, steps, batch size, examples.
Expected: rules that know the labels (kernel, layer score, spectrum) lower the loss beside equal ranks; random ranks do
    not; the method that promises the largest fall at the start ends with the smallest loss.
Cost: demo: about 10 minutes on one core (MiniLM, three seeds). smoke: seconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from experiments.training_run import child_job, plm_of, subset
from experiments.training_run import measure as train
from lab.control import RULES, Survey, allocate, logarithmic_gains, plan, recommend, survey
from lab.deltas import method_from_json
from lab.execution import Local
from lab.models import PLM
from lab.runs import Job, Record, Store
from lab.statistics import Interval, Verdict, mean_interval, rank_correlation_interval

NAME = "planner"
FIGURES = ("planner", "planner_ranks")

SURVEY = "planner_survey"
_SURVEYED = ("model", "task", "rank", "bottleneck", "tokens", "max_length", "n_train", "n_validation", "survey_batch",
             "n_samples")  # fmt: skip
TARGETS = ("query", "value")
EQUAL, RANDOM, RECOMMENDED = "equal ranks", "random ranks", "recommended"

SCALES: dict[str, dict[str, Any]] = {
    "smoke": {"model": "tiny-bert", "rank": 2, "tokens": 3, "bottleneck": 1, "steps": 3, "batch_size": 8,
              "seeds": [0, 1], "max_length": 16, "n_train": 64, "n_validation": 32, "survey_batch": 8, "n_samples": 2},
    "demo": {"model": "minilm", "rank": 3, "tokens": 6, "bottleneck": 2, "steps": 30, "batch_size": 16,
             "seeds": [0, 1, 2], "max_length": 32, "n_train": None, "n_validation": 200, "survey_batch": 8,
             "n_samples": 4},
    "paper": {"model": "minilm", "rank": 3, "tokens": 6, "bottleneck": 2, "steps": 1000, "batch_size": 32,
              "seeds": list(range(10)), "max_length": 128, "n_train": None, "n_validation": None, "survey_batch": 64,
              "n_samples": 32},
}  # fmt: skip

STEP_SIZES = {"lora": 1e-2, "adapter": 1e-2, "bitfit": 1e-2, "prefix": 1e-1, "prompt": 1e-1}  # tuned: docs/planner.md


def jobs(
    scale: str, *, model: str | None = None, task: str = "bbc-news", seeds: tuple[int, ...] | None = None
) -> list[Job]:
    """One comparison per PLM and task.

    Args:
        scale: "smoke", "demo" or "paper".
        model: name for `load_plm`; default: the scale's.
        task: name for `load_task`.
        seeds: of surveys and runs; default: the scale's.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {sorted(SCALES)}.")
    config = SCALES[scale] | {"task": task}
    return [Job(NAME, config | ({"model": model} if model else {}) | ({"seeds": list(seeds)} if seeds else {}))]


def methods_at_one_budget(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Four methods of nearly as many parameters: LoRA's r·Σ(m + n) is the budget, and none of the others exceeds it."""
    return {
        f"LoRA r = {config['rank']}": {"method": "lora", "rank": config["rank"]},
        f"adapter r = {config['bottleneck']}": {"method": "adapter", "bottleneck": config["bottleneck"]},
        f"prefix of {config['tokens']}": {"method": "prefix", "tokens": config["tokens"]},
        "BitFit": {"method": "bitfit"},
    }


def run_of(config: dict[str, Any], method: dict[str, Any], seed: int) -> Job:
    """The training run of a method under this experiment's settings; `robustness` uses the same runs."""
    return child_job(config, method=method, seed=seed, lr=STEP_SIZES[method["method"]])


def measure(job: Job, store: Store) -> Record:
    """Survey, plan, train every plan and every method over seeds."""
    c = job.config
    rows: list[dict[str, Any]] = []
    ranks: list[pd.DataFrame] = []
    budget = 0
    for seed in c["seeds"]:
        config = {name: c[name] for name in _SURVEYED} | {"seed": seed}
        (surveyed,) = Local(store).run([Job(SURVEY, config)], _survey, label=f"survey {seed}")
        table, promises = surveyed.tables["ranks"], dict[str, Any](surveyed.metrics)
        budget, advised = promises["budget"], json.loads(promises.pop("recommended"))
        ranks.append(table.assign(seed=seed))
        equal, *others = methods_at_one_budget(c)
        runs: dict[str, dict[str, Any]] = {
            str(rule): {"method": "lora", "rank": part["rank"].tolist()}
            for rule, part in table.groupby("rule", sort=False)
        }
        runs |= {EQUAL: methods_at_one_budget(c)[equal]} | {name: methods_at_one_budget(c)[name] for name in others}
        runs[RECOMMENDED] = advised
        records = Local(store).run([run_of(c, m, seed) for m in runs.values()], train, label=f"seed {seed}")
        for name, record in zip(runs, records, strict=True):
            kind = "method" if name in others else RECOMMENDED if name == RECOMMENDED else "ranks"
            row = _row(record) | {"label": name, "seed": seed, "kind": kind}
            rows.append(row | {"promised": promises.get(equal if name == EQUAL else name)})
    found = _with_differences(pd.DataFrame(rows))
    return Record(job, _metrics(found, budget), {"planner": found, "planner_ranks": pd.concat(ranks)})


def _survey(job: Job, store: Store) -> Record:
    """The plans of every rule for one seed's PLM, what each method promises, and what that recommends."""
    c = job.config
    plm = plm_of(c["model"], subset(c["task"], None, None).num_labels, c["seed"], "pretrained").with_attention("eager")
    loss, batch = _probe(c, plm, c["seed"])
    found = survey(plm, batch, loss, targets=TARGETS, n_samples=c["n_samples"], seed=c["seed"])
    budget = c["rank"] * sum(sum(m.shape) for m in found.matrices)
    rows = [
        {"rule": rule, "matrix": m.label, "role": m.role, "block": m.block, "rank": r,
         "gramian": float(found.gramian[m.block]), "kernel": float(found.kernel[m.block]),
         "layer_score": float(found.layer_score[m.block]), "step": float(found.steps[m.block])}
        for rule, chosen in _plans(found, budget, c["seed"]).items()
        for m, r in zip(found.matrices, chosen, strict=True)
    ]  # fmt: skip
    candidates = {label: method_from_json(method) for label, method in methods_at_one_budget(c).items()}
    made = recommend(plm, candidates, batch, loss, budget, seed=c["seed"])
    metrics = {"budget": budget, **made.promises, "recommended": json.dumps(made.method.to_json())}
    return Record(job, metrics, {"ranks": pd.DataFrame(rows)})


def _probe(c: dict[str, Any], plm: PLM, seed: int) -> tuple[Any, dict[str, torch.Tensor]]:
    """The loss and a training batch to survey on; training sees other batches first (another seed's order)."""
    task = subset(c["task"], c["n_train"], c["n_validation"])
    encoded = task.encode(plm, max_length=c["max_length"])
    return task.loss, encoded.train.training_batch(0, c["survey_batch"], seed + 1000)


def _plans(found: Survey, budget: int, seed: int) -> dict[str, tuple[int, ...]]:
    """Label -> the ranks of every matrix: each rule's, and random ones (exponential scores)."""
    plans = {f"by {rule}": plan(found, rule, budget).ranks for rule in RULES}
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(len(found.matrices), generator=generator, dtype=torch.float64)
    costs = [sum(m.shape) for m in found.matrices]
    plans[RANDOM] = allocate(logarithmic_gains(-draws.log(), min(costs) // 2), costs, budget).ranks
    return plans


def _row(record: Record) -> dict[str, Any]:
    history = record.tables["history"]
    last = history[history.split == "validation"].iloc[-1]
    m = record.metrics
    body = int(m["tunable"]) - int(m["head"])  # type: ignore[arg-type]
    return {"score": m["score"], "metric": m["metric"], "loss": float(last.loss), "parameters": body,
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


def summary(store: Store, records: list[Record]) -> str:
    """Loss of every plan beside equal ranks, with the interval over seeds."""
    lines = []
    for record in records:
        table = record.tables["planner"]
        lines.append(
            f"{record.job.config['model']} on {record.job.config['task']}, {record.metrics['budget']:,} numbers:"
        )
        for label, part in table.groupby("label", sort=False):
            d = _difference(table, str(label))
            lines.append(
                f"  {label:16s} loss {part.loss.mean():.3f}  {part.metric.iloc[0]} {part.score.mean():.3f}   "
                f"loss beside equal ranks {d.estimate:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
            )
    return "\n".join(lines)


REPLICATES = ("seeds",)
"""What differs between records that are judged together."""


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """Do the rules, and what is recommended, lower the loss beside equal ranks; does the promise order the methods?"""
    if not records:
        return []
    c = records[0].job.config
    table = pd.concat([record.tables["planner"] for record in records]).drop_duplicates(["label", "seed"])
    shared: dict[str, Any] = {"source": "docs/planner.md", "figure": "planner", "threshold": 0.0, "side": "below"}

    def setting(rows: pd.DataFrame) -> str:
        seeds = ", ".join(map(str, sorted(rows.seed.unique())))
        return f"{c['model']}, {c['task']}, {c['steps']} steps, seeds {seeds}"

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
