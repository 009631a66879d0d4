"""The delta methods side by side: what each reaches on the same tasks with the same budget, and how sure that is.

`convergence` and `generalization_gap` read the same training runs and train nothing more.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from math import log10, sqrt
from statistics import fmean
from typing import Any

import pandas as pd

from lab.deltas import (
    DID,
    IA3,
    METHODS,
    SAID,
    Adapter,
    AddedBias,
    BitFit,
    DeltaMethod,
    DiffPruning,
    FullFineTuning,
    LastLayer,
    LinearProbe,
    LoRA,
    Mask,
    Prefix,
    Prompt,
    SelectiveModule,
    method_from_json,
)
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
    merit,
    open_task,
    reported,
    setting,
    without_biases,
)

SOURCE = "Ding et al. 2022, performance comparison on T5-base"
RANKING = ("full fine-tuning", "LoRA", "adapter", "prefix", "prompt")
"""The source's order of the average score, best first."""

FURTHER = 3e-3
"""Where the grid of step sizes starts for methods that are not named here: LoRA's."""

HALF_OF_RANK_VARIANCE = sqrt(0.5)
"""|Spearman's ρ| above which one ranking explains more than half of the variance of the other's ranks (ρ² > 1/2)."""


@dataclass(frozen=True, kw_only=True)
class Comparison(Budget):
    """All methods on one task, each with the step size that did best on the tuning task."""

    seeds: tuple[int, ...] = setting("of the head, the method's random choices and the order of examples", low=0)
    evaluations: int = setting("of every run, evenly spaced, the last after the last step", low=1)
    head_lr: float = setting("step size of a freely trained head")
    tuning_task: str = setting("where step sizes are chosen", role="task")
    tuning_seed: int = setting("of the runs that choose step sizes", low=0)
    smallest_grid: int = setting("step sizes tried first", low=1)
    largest_grid: int = setting("most step sizes tried", low=1)
    methods: tuple[dict[str, Any], ...] = setting("label, start of the grid of step sizes, and JSON of each method")

    def run(self, entry: Mapping[str, Any], seed: int, lr: float, task: str | None = None) -> TrainingRun:
        """The training run of one entry of `methods`."""
        method = method_json(entry)
        head_lr = None if method["method"] == "linear-probe" else self.head_lr  # of the probe, lr is the head's
        own = {"method": method, "task": task or self.task, "seed": seed, "lr": lr, "head_lr": head_lr}
        return self.child(**own, evaluations=self.evaluations, train_evaluations="last", keep_phi=False)


@dataclass(frozen=True, kw_only=True)
class Plan(Config):
    """One comparison per task."""

    model: str = setting("name for load_plm", role="model")
    tasks: tuple[str, ...] = setting("names or paths for load_task", role="task")
    tuning_task: str = setting("where step sizes are chosen", role="task")
    methods: tuple[str, ...] = setting("labels of methods; (none): all", ())
    seeds: tuple[int, ...] = setting("of the head, the method's random choices and the order of examples", low=0)
    steps: int = setting("AdamW steps of every run", unit="step", low=1)
    n_train: int | None = setting("training examples of every task; none: all", None, unit="example", low=1)
    n_validation: int | None = setting("validation examples of every task; none: all", None, unit="example", low=1)
    max_length: int = setting("tokens kept per example", unit="token", low=1)
    batch_size: int = setting("examples per step", 16, unit="example", low=1)
    splits: int = setting("3: choose on a part of the training data, report on what was held out", 2, choices=(2, 3))
    n_test: int | None = setting("with three splits: test examples, or all where there are fewer", None, low=1)
    evaluations: int = setting("of every run", 6, low=1)
    head_lr: float = setting("step size of a freely trained head", 1e-2)
    tuning_seed: int = setting("of the runs that choose step sizes", 0, low=0)
    smallest_grid: int = setting("step sizes tried first", 3, low=1)
    largest_grid: int = setting("most step sizes tried, while the best is at an edge", 5, low=1)
    prompt_tokens: int = setting("the source's 100 make every sequence longer by 100 positions", 20, low=1)
    dimension: int = setting("of DID's subspace", 1000, low=1)

    def configs(self) -> tuple[Comparison, ...]:
        known = compared(self)
        labels = self.methods or tuple(known)
        if unknown := sorted(set(labels) - set(known)):
            raise ValueError(f"unknown methods {unknown}; choose from {', '.join(known)}.")
        entries = tuple({**known[label][0].to_json(), "label": label, "start": known[label][1]} for label in labels)
        shared = {e.name: getattr(self, e.name) for e in fields(Comparison) if e.name not in ("task", "methods")}
        return tuple(Comparison(task=task, methods=entries, **shared) for task in self.tasks)


def compared(plan: Plan) -> dict[str, tuple[DeltaMethod, float]]:
    """Label -> the method and the step size its grid starts from.

    Every method of `METHODS` but for the nearest kin: SAID (of DID), and of BitFit and added biases the one that the
    PLM's family has a use for. Settings are those of `lab.deltas.presets.delta_tuning_study`, but for the prompt's
    length. The last two are the slowest: a step that touches all weights through a projection, or through as many
    gates.
    """
    biases: tuple[str, DeltaMethod] = ("BitFit", BitFit())
    if without_biases(plan.model):
        biases = ("added biases", AddedBias())
    named: dict[str, tuple[DeltaMethod, float]] = {
        "full fine-tuning": (FullFineTuning(), 1e-4),
        "linear probe": (LinearProbe(), plan.head_lr),
        "LoRA": (LoRA(rank=8), 3e-3),
        "adapter": (Adapter(bottleneck=64, activation="silu", placement="houlsby"), 1e-3),
        "prefix": (Prefix(tokens=5), 1e-2),
        "prompt": (Prompt(tokens=plan.prompt_tokens), 3e-2),
        biases[0]: (biases[1], 3e-3),
        "IA3": (IA3(), 1e-2),
        "last layer": (LastLayer(), 3e-4),
        "random modules": (SelectiveModule(), 3e-4),
        "mask": (Mask(), 1e-3),
        "DID": (DID(dimension=plan.dimension, head="free"), 3e-1),
        "diff pruning": (DiffPruning(), 1e-4),
    }
    known = {SAID, BitFit, AddedBias, *(type(method) for method, _ in named.values())}
    return named | {method().title: (method(), FURTHER) for method in METHODS if method not in known}


def measure(c: Comparison, lab: Lab) -> Result:
    """Tune, train every method with every seed, and rank them on this task."""
    runs = compared_runs(c, lab)
    table = scores(runs)
    means = table.groupby("label", sort=False)["score"].mean()
    metrics = {
        "metric": table["metric"].iloc[0],
        "best": str(means.idxmax()),
        "best_score": float(means.max()),
        "linear_probe": float(means.get("linear probe", float("nan"))),
        "runs": len(table),
        "train_seconds": float(table["train_seconds"].sum()),
    }
    return Result({k: v for k, v in metrics.items() if v == v}, {"performance": table, "tuning": runs.tuning})


@dataclass(frozen=True, eq=False)
class ComparedRuns:
    """The training runs of one comparison.

    Attributes:
        runs: label -> its runs, in the order of the seeds.
        tuning: the search for step sizes: label, step_size, score, loss, chosen.
    """

    runs: dict[str, list[Finding[TrainingRun]]]
    tuning: pd.DataFrame

    @property
    def step_sizes(self) -> dict[str, float]:
        """Label -> the step size that was chosen."""
        chosen = self.tuning[self.tuning.chosen]
        return dict(zip(chosen.label, chosen.step_size, strict=True))

    def rows(self) -> list[dict[str, Any]]:
        """What every table of these runs starts from: one row per run, under `run` its finding."""
        return [
            {"label": label, "kind": kind_of(run.config.method["method"]), "run": run, "seed": run.config.seed,
             "task": run.config.task, "model": run.config.model, "metric": run.metrics["metric"],
             "tunable": run.metrics["tunable"]}
            for label, runs in self.runs.items()
            for run in runs
        ]  # fmt: skip


def kind_of(method: str) -> str:
    """ "full", "null" (nothing but the head moves), "combination" or "delta"."""
    return {"full": "full", "linear-probe": "null", "combination": "combination"}.get(method, "delta")


def compared_runs(c: Comparison, lab: Lab) -> ComparedRuns:
    """Every run of a comparison, trained where the store does not have it yet; seeds outermost, then methods."""
    check_size(c)
    tuning = _tuned(c, lab)
    lrs = {label: _best(tried) for label, tried in tuning.items()}
    children = [(entry["label"], c.run(entry, seed, lrs[entry["label"]])) for seed in c.seeds for entry in c.methods]
    found = lab.run(TRAINING_RUN, [run for _, run in children], f"runs on {c.task}")
    by_label: dict[str, list[Finding[TrainingRun]]] = {entry["label"]: [] for entry in c.methods}
    for (label, _), run in zip(children, found, strict=True):
        by_label[label].append(run)
    table = [
        {"label": label, "step_size": lr, "score": run.metrics["score"], "loss": final(run.tables["history"])["loss"],
         "chosen": lr == lrs[label]}
        for label, tried in tuning.items()
        for lr, run in sorted(tried.items())
    ]  # fmt: skip
    return ComparedRuns(by_label, pd.DataFrame(table))


def check_size(c: Budget) -> None:
    """Raise where a task has fewer examples than are to be used, before anything is trained."""
    whole = open_task(c.task, splits=c.splits)
    for option, wanted, examples in (
        ("n-train", c.n_train, whole.train),
        ("n-validation", c.n_validation, whole.validation),
    ):
        if wanted is not None and wanted > len(examples):
            raise ValueError(
                f"{c.task} has {len(examples)} examples where {wanted} are to be used; give --{option} {len(examples)} "
                "or fewer."
            )


def scores(runs: ComparedRuns) -> pd.DataFrame:
    """The table of the figure: one row per run."""
    names = ("train_score", "stored", "head", "native", "step_size", "train_seconds")
    rows = []
    for row in runs.rows():
        run = row.pop("run")
        rows.append(row | {"score": reported(run)} | {name: run.metrics[name] for name in names})
    return pd.DataFrame(rows)


Tried = dict[float, Finding[TrainingRun]]


def _tuned(c: Comparison, lab: Lab) -> dict[str, Tried]:
    """Label -> step size -> its run on the tuning task.

    Every method's grid grows while its best is at an edge and there is room; the grids of all methods grow together, so
    that an engine has many runs to do at a time.
    """
    entries = {entry["label"]: entry for entry in c.methods}
    middle = {label: half_decade(entry["start"]) for label, entry in entries.items()}
    ends = {label: (k - (c.smallest_grid - 1) // 2, k + c.smallest_grid // 2) for label, k in middle.items()}
    tried: dict[str, Tried] = {label: {} for label in entries}
    while True:
        missing = [
            (label, lr)
            for label, (low, high) in ends.items()
            for lr in map(step_size, range(low, high + 1))
            if lr not in tried[label]
        ]
        if not missing:
            return tried
        children = [c.run(entries[label], c.tuning_seed, lr, c.tuning_task) for label, lr in missing]
        for (label, lr), run in zip(missing, lab.run(TRAINING_RUN, children, "step sizes"), strict=True):
            tried[label][lr] = run
        for label, (low, high) in ends.items():
            best = _best(tried[label])
            if high - low + 1 < c.largest_grid and best in (step_size(low), step_size(high)):
                ends[label] = (low - 1, high) if best == step_size(low) else (low, high + 1)


def _best(tried: Tried) -> float:
    return max(sorted(tried), key=lambda lr: merit(tried[lr].tables["history"]))


def half_decade(lr: float) -> int:
    """k of the step size 1·10^(k/2) (k even) or 3·10^((k−1)/2) (k odd) nearest to lr on a logarithmic scale."""
    return round(2 * log10(lr))


def step_size(k: int) -> float:
    """1·10^(k/2) for even k, 3·10^((k−1)/2) for odd k: 1e-4, 3e-4, 1e-3, …"""
    return float(f"{3 if k % 2 else 1}e{k // 2}")


def joined(found: Sequence[Finding[Any]], name: str) -> pd.DataFrame:
    """One table of all findings."""
    return pd.concat([finding.tables[name] for finding in found], ignore_index=True)


def told(found: Sequence[Finding[Any]]) -> str:
    """Models, tasks, seeds and budget of comparisons, for a verdict."""
    c = found[0].config
    tasks = ", ".join(dict.fromkeys(finding.config.task for finding in found))
    seeds = sorted({seed for finding in found for seed in finding.config.seeds})
    examples = "all" if c.n_train is None else c.n_train
    replicates = "interval over tasks, seeds averaged" if "," in tasks else "interval over seeds"
    return (
        f"{c.model}; {tasks}; seeds {', '.join(map(str, seeds))}; {c.steps} steps of {c.batch_size} × "
        f"{c.max_length} tokens, {examples} training examples; {replicates}"
    )


def paired(
    table: pd.DataFrame,
    first: str,
    second: str,
    compare: Callable[[pd.Series, pd.Series], pd.Series] = operator.sub,
    value: str = "score",
) -> dict[str, list[float]]:
    """Task -> first − second (or another comparison) for each seed that both methods have; empty without them."""
    wide = table.pivot_table(index=["task", "seed"], columns="label", values=value)
    if first not in wide or second not in wide:
        return {}
    differences = compare(wide[first], wide[second]).dropna()
    return {str(task): list(part) for task, part in differences.groupby("task", sort=False)}


def over_tasks(by_task: Mapping[str, Sequence[float]]) -> Interval:
    """Student's t interval over tasks, seeds averaged within each; of a single task, over its seeds.

    The claims are about tasks, and seeds of one task are no independent evidence about another.
    """
    values = [fmean(values) for values in by_task.values()]
    return mean_interval(values if len(values) > 1 else list(*by_task.values()))


def metric_name(table: pd.DataFrame) -> str:
    """The metrics of a table, joined."""
    return ", ".join(dict.fromkeys(map(str, table["metric"])))


def claims(found: Sequence[Finding[Comparison]]) -> list[Verdict]:
    """The source's order pair by pair, BitFit's 95 %, and whether the number of tunable parameters decides."""
    table, where = joined(found, "performance"), told(found)
    shared: dict[str, Any] = {"source": SOURCE, "figure": "performance", "number": 3}
    verdicts = [
        Verdict(
            claim=f"{better[0].upper()}{better[1:]} scores higher than {worse} on average.",
            quantity=f"mean score of {better} minus that of {worse} [{metric_name(table)}]",
            measured=over_tasks(differences), threshold=0.0, side="above", setting=where, **shared,
        )
        for better, worse in pairwise(RANKING)
        if (differences := paired(table, better, worse))
    ]  # fmt: skip
    if ratios := paired(table, "BitFit", "full fine-tuning", operator.truediv):
        verdicts.append(
            Verdict(
                claim="BitFit keeps more than 95 % of full fine-tuning's score.",
                source="Ben Zaken et al. 2022, as Ding et al. 2022 cite it",
                quantity="mean of score of BitFit / score of full fine-tuning [1]",
                measured=over_tasks(ratios), threshold=0.95, side="above", setting=where, figure="performance",
                number=1,
            )
        )  # fmt: skip
    deltas = table[table.kind == "delta"]
    by_method = deltas.groupby("label").agg(tunable=("tunable", "mean"), score=("score", "mean"))
    if len(by_method) > 3:
        verdicts.append(
            Verdict(
                claim="Among delta methods, the number of tunable parameters does not decide the score.",
                quantity="Spearman's ρ between tunable parameters and mean score over the delta methods [1]; "
                "below 0.71 "
                "the number explains less than half of the variance of the ranks",
                measured=rank_correlation_interval(list(by_method.tunable), list(by_method.score)),
                threshold=HALF_OF_RANK_VARIANCE, side="below", setting=f"{len(by_method)} delta methods; {where}",
                **shared,
            )
        )  # fmt: skip
    return verdicts


def methods_of(c: Comparison) -> dict[str, DeltaMethod]:
    """Label -> method."""
    return {entry["label"]: method_from_json(method_json(entry)) for entry in c.methods}


def method_json(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What `method_from_json` reads, of one entry of a comparison's methods."""
    return {name: value for name, value in entry.items() if name not in ("label", "start")}


SCALES = {
    "smoke": Plan(
        model="tiny-bert", tasks=("rotten-tomatoes", "bbc-news"), tuning_task="rotten-tomatoes", seeds=(0,), steps=2,
        n_train=32, n_validation=16, max_length=8, batch_size=4, evaluations=2, smallest_grid=1, largest_grid=1,
        prompt_tokens=4, dimension=16,
    ),
    "demo": Plan(
        model="minilm", tasks=("rotten-tomatoes", "bbc-news", "sentence-length"), tuning_task="rotten-tomatoes",
        seeds=(0, 1, 2), steps=64, n_train=512, n_validation=200, max_length=32,
    ),
    "paper": Plan(
        model="minilm", tasks=("rotten-tomatoes", "bbc-news", "drug-reviews", "imdb", "bigram-shift", "same-topic"),
        tuning_task="rotten-tomatoes", seeds=(13, 21, 42, 87, 100), steps=2000, max_length=128, batch_size=32,
        evaluations=20, smallest_grid=5, largest_grid=9, prompt_tokens=100,
    ),
}  # fmt: skip

EXPERIMENT = Experiment(
    name="performance",
    question="which delta methods reach more at an equal budget, and does the number of tunable parameters decide it?",
    source="Ding et al. 2022, performance comparison on T5-base: FT > LoRA > adapter > prefix > prompt on average.",
    varied="the method, the task, the seed (head, method's random choices, order of examples).",
    tuned="each method's step size, on one task with one seed, over half-decades: the start and its neighbours, and "
    "further while the best is at an edge and the grid is smaller than `largest_grid`. The same rule for every method.",
    fixed="steps, batch size, examples, sequence length, schedule; the head is trained freely with one step size for "
    "all.",
    expected="full fine-tuning first, prompt last, the linear probe (the null: no delta at all) below all that work.",
    cost="demo: about an hour on two quiet cores (MiniLM, 13 methods, 3 tasks, 3 seeds), a third of it for DID "
    "and diff "
    "pruning; 15-30 s a run otherwise. smoke: seconds.",
    view="methods",
    config=Comparison,
    scales=SCALES,
    measure=measure,
    figures=("performance",),
    claims=claims,
    replicates=("task", "seeds"),
)
