"""The delta methods side by side: what each reaches on the same tasks with the same budget, and how sure that is.

Question: which delta methods reach more at an equal budget, and does the number of tunable parameters decide it?
Source: Ding et al. 2022, performance comparison on T5-base: FT > LoRA > adapter > prefix > prompt on average.
Varied: the method, the task, the seed (head, method's random choices, order of examples).
Tuned: each method's step size, on one task with one seed, over half-decades: the start and its neighbours, and further
    while the best is at an edge and the grid is smaller than `largest_grid`. The same rule for every method.
Fixed: steps, batch size, examples, sequence length, schedule; the head is trained freely with one step size for all.
Expected: full fine-tuning first, prompt last, the linear probe (the null: no delta at all) below all that work.
Cost: demo: about an hour on two quiet cores (MiniLM, 13 methods, 3 tasks, 3 seeds), a third of it for DID and diff
    pruning; 15-30 s a run otherwise. smoke: seconds.

`convergence` and `generalization_gap` read the same training runs and train nothing more.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import wraps
from itertools import pairwise
from math import log10, sqrt
from statistics import fmean
from typing import Any

import pandas as pd

from experiments.training_run import LATER, child_job, final, merit, subset, without_biases
from experiments.training_run import measure as train
from lab.deltas import (
    DID,
    IA3,
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
)
from lab.execution import Local
from lab.runs import Job, Record, Store
from lab.statistics import Interval, Verdict, mean_interval, rank_correlation_interval
from lab.statistics.ranking import ranked

NAME = "performance"
FIGURES = ("performance",)

SOURCE = "Ding et al. 2022, performance comparison on T5-base"
RANKING = ("full fine-tuning", "LoRA", "adapter", "prefix", "prompt")
"""The source's order of the average score, best first."""

HALF_OF_RANK_VARIANCE = sqrt(0.5)
"""|Spearman's ρ| above which one ranking explains more than half of the variance of the other's ranks (ρ² > 1/2)."""


@dataclass(frozen=True)
class Scale:
    """Everything a scale fixes. `prompt_tokens`: the source's 100 make every sequence longer by 100 positions."""

    model: str
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int
    n_train: int | None
    n_validation: int | None
    max_length: int
    batch_size: int = 16
    evaluations: int = 6
    head_lr: float = 1e-2
    tuning_seed: int = 0
    smallest_grid: int = 3
    largest_grid: int = 5
    prompt_tokens: int = 20
    dimension: int = 1000


SCALES = {
    "smoke": Scale(
        "tiny-bert", ("rotten-tomatoes", "bbc-news"), (0,), steps=2, n_train=32, n_validation=16, max_length=8,
        batch_size=4, evaluations=2, smallest_grid=1, largest_grid=1, prompt_tokens=4, dimension=16,
    ),
    "demo": Scale(
        "minilm", ("rotten-tomatoes", "bbc-news", "sentence-length"), (0, 1, 2), steps=64, n_train=512,
        n_validation=200, max_length=32,
    ),
    "paper": Scale(
        "minilm", ("rotten-tomatoes", "bbc-news", "drug-reviews", "imdb", "bigram-shift", "same-topic"),
        (13, 21, 42, 87, 100), steps=2000, n_train=None, n_validation=None, max_length=128, batch_size=32,
        evaluations=20, smallest_grid=5, largest_grid=9, prompt_tokens=100,
    ),
}  # fmt: skip


def compared(scale: Scale) -> dict[str, tuple[DeltaMethod, float]]:
    """Label -> the method and the step size its grid starts from.

    Every method of `METHODS` but for the nearest kin: SAID (of DID), and of BitFit and added biases the one that the
    PLM's family has a use for.
    Settings are those of `lab.deltas.presets.delta_tuning_study`, but for the prompt's length. The last two are the
    slowest: a step that touches all weights through a projection, or through as many gates.
    """
    biases: tuple[str, DeltaMethod] = ("BitFit", BitFit())
    if without_biases(scale.model):
        biases = ("added biases", AddedBias())
    return {
        "full fine-tuning": (FullFineTuning(), 1e-4),
        "linear probe": (LinearProbe(), scale.head_lr),
        "LoRA": (LoRA(rank=8), 3e-3),
        "adapter": (Adapter(bottleneck=64, activation="silu", placement="houlsby"), 1e-3),
        "prefix": (Prefix(tokens=5), 1e-2),
        "prompt": (Prompt(tokens=scale.prompt_tokens), 3e-2),
        biases[0]: (biases[1], 3e-3),
        "IA3": (IA3(), 1e-2),
        "last layer": (LastLayer(), 3e-4),
        "random modules": (SelectiveModule(), 3e-4),
        "mask": (Mask(), 1e-3),
        "DID": (DID(dimension=scale.dimension, head="free"), 3e-1),
        "diff pruning": (DiffPruning(), 1e-4),
    }


def jobs(
    scale: str,
    *,
    model: str | None = None,
    tasks: tuple[str, ...] | None = None,
    seeds: tuple[int, ...] | None = None,
    methods: tuple[str, ...] | None = None,
    steps: int | None = None,
    n_train: int | None = None,
    n_validation: int | None = None,
    splits: int = 2,
    n_test: int | None = None,
) -> list[Job]:
    """One comparison per task.

    Args:
        scale: "smoke", "demo" or "paper".
        model: name for `load_plm`; default: the scale's.
        tasks: names or paths for `load_task`; step sizes are tuned on the scale's first task whatever is given.
        seeds: seeds of the runs; default: the scale's.
        methods: labels of `compared`; default: all.
        steps: steps of every run; default: the scale's.
        n_train: training examples of every task, the first included; default: the scale's.
        n_validation: validation examples of every task; default: the scale's.
        splits: 3 chooses step sizes on a part of the training data and scores on what was held out; 2 does both on
            the validation data.
        n_test: test examples of every task, or all where there are fewer.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {sorted(SCALES)}.")
    base = SCALES[scale]
    given = {"model": model, "seeds": seeds, "steps": steps, "n_train": n_train, "n_validation": n_validation}
    chosen = replace(base, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    known = compared(chosen)
    labels = methods or tuple(known)
    if unknown := sorted(set(labels) - set(known)):
        raise ValueError(f"unknown methods {unknown}; choose from {', '.join(known)}.")
    entries = [{**known[label][0].to_json(), "label": label, "start": known[label][1]} for label in labels]
    config = {k: v for k, v in asdict(chosen).items() if k not in ("tasks", "prompt_tokens", "dimension")}
    config |= {"tuning_task": base.tasks[0], "methods": entries}
    config |= {name: value for name, value in (("splits", splits), ("n_test", n_test)) if value != LATER[name]}
    return [Job(NAME, {"task": task} | config) for task in tasks or base.tasks]


def jobs_of(experiment: str) -> Callable[..., list[Job]]:
    """The `jobs` of an experiment that reads the same runs: the same options, other questions."""

    @wraps(jobs)
    def renamed(scale: str, **options: Any) -> list[Job]:
        return [Job(experiment, job.config) for job in jobs(scale, **options)]

    return renamed


def measure(job: Job, store: Store) -> Record:
    """Tune, train every method with every seed, and rank them on this task."""
    runs = compared_runs(job, store)
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
    return Record(job, {k: v for k, v in metrics.items() if v == v}, {NAME: table, "tuning": runs.tuning})


@dataclass(frozen=True, eq=False)
class ComparedRuns:
    """The training runs of one comparison.

    Attributes:
        records: label -> records of its runs, in the order of the seeds.
        tuning: the search for step sizes: label, step_size, score, loss, chosen.
    """

    records: dict[str, list[Record]]
    tuning: pd.DataFrame

    @property
    def step_sizes(self) -> dict[str, float]:
        """Label -> the step size that was chosen."""
        chosen = self.tuning[self.tuning.chosen]
        return dict(zip(chosen.label, chosen.step_size, strict=True))

    def rows(self) -> list[dict[str, Any]]:
        """What every table of these runs starts from: one row per run, under `record` its record."""
        return [
            {"label": label, "kind": kind_of(record.job.config["method"]["method"]), "record": record,
             "seed": record.job.config["seed"], "task": record.job.config["task"], "model": record.job.config["model"],
             "metric": record.metrics["metric"], "tunable": record.metrics["tunable"]}
            for label, records in self.records.items()
            for record in records
        ]  # fmt: skip


def kind_of(method: str) -> str:
    """ "full", "null" (nothing but the head moves), "combination" or "delta"."""
    return {"full": "full", "linear-probe": "null", "combination": "combination"}.get(method, "delta")


def compared_runs(job: Job, store: Store) -> ComparedRuns:
    """Every run of a comparison, trained where the store does not have it yet; seeds outermost, then methods."""
    config = job.config
    check_size(config["task"], config["n_train"], config["n_validation"], config.get("splits", 2))
    tuning = {entry["label"]: _tuned(entry, config, store) for entry in config["methods"]}
    lrs = {label: max(tried, key=lambda lr: merit(tried[lr].tables["history"])) for label, tried in tuning.items()}
    children = {
        (entry["label"], seed): child(entry, config, config["task"], seed, lrs[entry["label"]])
        for seed in config["seeds"]
        for entry in config["methods"]
    }
    records = Local(store).run(list(children.values()), train, label=f"{job.experiment} {config['task']}")
    by_label: dict[str, list[Record]] = {entry["label"]: [] for entry in config["methods"]}
    for (label, _), record in zip(children, records, strict=True):
        by_label[label].append(record)
    table = [
        {"label": label, "step_size": lr, "score": record.metrics["score"],
         "loss": final(record.tables["history"])["loss"], "chosen": lr == lrs[label]}
        for label, tried in tuning.items()
        for lr, record in sorted(tried.items())
    ]  # fmt: skip
    return ComparedRuns(by_label, pd.DataFrame(table))


def check_size(task: str, n_train: int | None, n_validation: int | None, splits: int = 2) -> None:
    """Raise where a task has fewer examples than are to be used, before anything is trained."""
    loaded = subset(task, None, None, splits)
    for option, wanted, examples in (
        ("n-train", n_train, loaded.train),
        ("n-validation", n_validation, loaded.validation),
    ):
        if wanted is not None and wanted > len(examples):
            raise ValueError(
                f"{task} has {len(examples)} examples where {wanted} are to be used; give --{option} {len(examples)} "
                "or fewer."
            )


def scores(runs: ComparedRuns) -> pd.DataFrame:
    """The table of the figure: one row per run."""
    rows = []
    for row in runs.rows():
        m = row.pop("record").metrics
        names = ("train_score", "stored", "head", "native", "step_size", "train_seconds")
        rows.append(row | {"score": m.get("test_score", m["score"])} | {name: m[name] for name in names})
    return pd.DataFrame(rows)


def _tuned(entry: Mapping[str, Any], config: Mapping[str, Any], store: Store) -> dict[float, Record]:
    """Step size -> its run on the tuning task; the grid grows while its best is at an edge and there is room."""
    low = high = half_decade(entry["start"])
    low, high = low - (config["smallest_grid"] - 1) // 2, high + config["smallest_grid"] // 2
    tried: dict[float, Record] = {}
    while True:
        grid = [step_size(k) for k in range(low, high + 1)]
        missing = [lr for lr in grid if lr not in tried]
        children = [child(entry, config, config["tuning_task"], config["tuning_seed"], lr) for lr in missing]
        records = Local(store).run(children, train, label=f"step size of {entry['label']}")
        tried |= dict(zip(missing, records, strict=True))
        best = max(grid, key=lambda lr: merit(tried[lr].tables["history"]))
        if len(grid) >= config["largest_grid"] or best not in (grid[0], grid[-1]):
            return tried
        low, high = (low - 1, high) if best == grid[0] else (low, high + 1)


def half_decade(lr: float) -> int:
    """k of the step size 1·10^(k/2) (k even) or 3·10^((k−1)/2) (k odd) nearest to lr on a logarithmic scale."""
    return round(2 * log10(lr))


def step_size(k: int) -> float:
    """1·10^(k/2) for even k, 3·10^((k−1)/2) for odd k: 1e-4, 3e-4, 1e-3, …"""
    return float(f"{3 if k % 2 else 1}e{k // 2}")


def method_json(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What `method_from_json` reads, of one entry of a comparison's methods."""
    return {name: value for name, value in entry.items() if name not in ("label", "start")}


def child(entry: Mapping[str, Any], config: Mapping[str, Any], task: str, seed: int, lr: float) -> Job:
    """The training run of one entry of a comparison's methods."""
    method = method_json(entry)
    head_lr = None if method["method"] == "linear-probe" else config["head_lr"]  # of the probe, lr is the head's
    return child_job(
        config, task=task, method=method, seed=seed, lr=lr, head_lr=head_lr, evaluations=config["evaluations"],
        train_evaluations="last", keep_phi=False,
        **{name: config[name] for name in ("splits", "n_test") if name in config},
    )  # fmt: skip


def joined(records: Sequence[Record], name: str) -> pd.DataFrame:
    """One table of all records."""
    return pd.concat([record.tables[name] for record in records], ignore_index=True)


def setting(records: Sequence[Record]) -> str:
    """Models, tasks, seeds and budget of comparisons, for a verdict."""
    c = records[0].job.config
    tasks = ", ".join(dict.fromkeys(str(record.job.config["task"]) for record in records))
    seeds = sorted({seed for record in records for seed in record.job.config["seeds"]})
    examples = "all" if c["n_train"] is None else c["n_train"]
    replicates = "interval over tasks, seeds averaged" if "," in tasks else "interval over seeds"
    return (
        f"{c['model']}; {tasks}; seeds {', '.join(map(str, seeds))}; {c['steps']} steps of {c['batch_size']} × "
        f"{c['max_length']} tokens, {examples} training examples; {replicates}"
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
    compared = compare(wide[first], wide[second]).dropna()
    return {str(task): list(part) for task, part in compared.groupby("task", sort=False)}


REPLICATES = ("task", "seeds")
"""What differs between records that are judged together."""


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """The source's order pair by pair, BitFit's 95 %, and whether the number of tunable parameters decides."""
    table = joined(records, NAME)
    shared: dict[str, Any] = {"figure": NAME, "number": 3}
    found = []
    for better, worse in pairwise(RANKING):
        if differences := paired(table, better, worse):
            claim = f"{better[0].upper()}{better[1:]} scores higher than {worse} on average."
            quantity = f"mean score of {better} minus that of {worse} [{metric_name(table)}]"
            measured = over_tasks(differences)
            found.append(Verdict(claim, SOURCE, quantity, measured, 0.0, "above", setting(records), **shared))
    if ratios := paired(table, "BitFit", "full fine-tuning", operator.truediv):
        claim = "BitFit keeps more than 95 % of full fine-tuning's score."
        source = "Ben Zaken et al. 2022, as Ding et al. 2022 cite it"
        quantity = "mean of score of BitFit / score of full fine-tuning [1]"
        measured = over_tasks(ratios)
        found.append(Verdict(claim, source, quantity, measured, 0.95, "above", setting(records), NAME, number=1))
    deltas = table[table.kind == "delta"]
    by_method = deltas.groupby("label").agg(tunable=("tunable", "mean"), score=("score", "mean"))
    if len(by_method) > 3:
        claim = "Among delta methods, the number of tunable parameters does not decide the score."
        quantity = (
            "Spearman's ρ between tunable parameters and mean score over the delta methods [1]; below 0.71 the number "
            "explains less than half of the variance of the ranks"
        )
        measured = rank_correlation_interval(list(by_method.tunable), list(by_method.score))
        where = f"{len(by_method)} delta methods; {setting(records)}"
        found.append(Verdict(claim, SOURCE, quantity, measured, HALF_OF_RANK_VARIANCE, "below", where, **shared))
    return found


def over_tasks(by_task: Mapping[str, Sequence[float]]) -> Interval:
    """Student's t interval over tasks, seeds averaged within each; of a single task, over its seeds.

    The claims are about tasks, and seeds of one task are no independent evidence about another.
    """
    values = [fmean(values) for values in by_task.values()]
    return mean_interval(values if len(values) > 1 else list(*by_task.values()))


def metric_name(table: pd.DataFrame) -> str:
    """The metrics of a table, joined."""
    return ", ".join(dict.fromkeys(map(str, table["metric"])))


def summary(store: Store, records: list[Record]) -> str:
    """Mean scores per task, mean rank, and what the ranking can tell."""
    table = joined(records, NAME)
    means = table.pivot_table(index="task", columns="label", values="score", sort=False)
    ranking = ranked(table)
    tunable = table.groupby("label")["tunable"].mean()
    lines = ["method".ljust(18) + "".join(f"{task[:16]:>18s}" for task in means.index) + "   mean rank       tunable"]
    for label, rank in sorted(ranking.mean_ranks.items(), key=lambda item: item[1]):
        cells = "".join(f"{score:18.3f}" for score in means[label])
        lines.append(f"{label:18s}{cells}{rank:12.2f}{tunable[label]:14,.0f}")
    answers = [f"{v.answer:20s} {v.claim} ({v.measured.estimate:+.3f})" for v in verdicts(records)]
    return "\n".join([*lines, "", ranking.told, "", *answers])
