"""Six delta methods on PLMs of growing size: what each reaches, how soon, and does it matter where parameters stand.

What "size" is here. The packaged series are MiniLM and SmolLM2 cut after their first k blocks: depth, not scale of
pre-training. A cut PLM was never trained to be read at that block, so it says how much of the adaptation the later
blocks carry, and only by analogy what a smaller PLM would do; the more so on MiniLM, whose head reads [CLS], the state
of which hardly depends on the text in blocks 1 to 5 (docs/combination.md). SmolLM2's head reads the last token. With
--sizes the series can be any PLMs: those of the hub, or the larger packaged ones, `--sizes smollm2,gemma3` and
`--sizes minilm,mpnet --only adapter,LoRA,prompt` (MPNet's attention takes no prefix).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from experiments.combination import HEAD_STEP_SIZE
from lab.deltas import Adapter, DeltaMethod, LastLayer, LoRA, Prefix, Prompt, SelectiveModule
from lab.statistics import Evidence, Interval, Verdict, mean_interval
from lab.statistics.scale import faster, finals, known_if, rises_after_first
from lab.study import TRAINING_RUN, Experiment, Finding, Lab, Result, TrainingRun, Workload, reported, setting
from lab.study.materials import model_and_depth
from lab.study.step_sizes import StepSizeGrids
from lab.training.settings import Precision

SOURCE = "Ding et al. 2022, power of scale"
DEPTH = "depth, read as size: the first blocks of one PLM beside all of them"
"""What a cut series is about: its smaller members are parts of one pre-trained PLM, and no smaller pre-trained PLMs."""
FOUR = ("adapter", "LoRA", "prefix", "prompt")
LAST, RANDOM = "last layer", "random modules"


@dataclass(frozen=True, kw_only=True)
class Setup(StepSizeGrids, Workload):
    """What a series fixes."""

    task: str = setting("name or path for load_task", role="task")
    seeds: tuple[int, ...] = setting("of the runs", low=0)
    evaluations: int = setting("of every run, evenly spaced", low=1)
    rank: int = setting("r of LoRA", 8, low=1, keyed=True)
    bottleneck: int = setting("of the adapter", 64, low=1, keyed=True)
    prefix_tokens: int = setting("length of the prefix", 5, unit="token", low=1, keyed=True)
    prompt_tokens: int = setting("length of the prompt", 20, unit="token", low=1, keyed=True)
    precision: Precision = setting("of the matrix products", "float32", choices=("float32", "bfloat16"), keyed=True)
    tuning_seed: int | None = setting(
        "with which every method's step size is chosen on the largest PLM, by one rule; none: the given ones",
        None,
        low=0,
    )


@dataclass(frozen=True, kw_only=True)
class Series(Setup):
    """One series of PLMs."""

    sizes: tuple[str, ...] = setting("PLMs in growing size: name, or name:k for its first k blocks", role="model")
    methods: tuple[dict[str, Any], ...] = setting("label, lr and JSON of each method, the last layer last")
    head_lr: float = setting("step size of the head")

    def __post_init__(self) -> None:
        super().__post_init__()
        for size in self.sizes:
            model_and_depth(size)

    def named(self, role: str) -> Iterator[str]:
        for name in super().named(role):
            yield model_and_depth(name)[0] if role == "model" else name

    def runs(self, size: str, entry: Mapping[str, Any]) -> list[TrainingRun]:
        """One method on one PLM, over the seeds."""
        return [self.run(size, entry, seed, entry["lr"]) for seed in self.seeds]

    def run(self, size: str, entry: Mapping[str, Any], seed: int, lr: float) -> TrainingRun:
        model, depth = model_and_depth(size)
        return self.child(
            model=model, n_layers=depth, method=entry["method"], seed=seed, lr=lr, head_lr=self.head_lr,
            evaluations=self.evaluations, precision=self.precision, train_evaluations="last", keep_phi=False,
        )  # fmt: skip

    def with_step_sizes(self, entries: Sequence[Mapping[str, Any]], lab: Lab) -> list[dict[str, Any]]:
        """The entries with the step sizes to use: as given, or the best of half-decades about them on the largest PLM,
        by validation data and a seed of its own."""
        if self.tuning_seed is None:
            return [dict(entry) for entry in entries]
        by_label, seed = {entry["label"]: entry for entry in entries}, self.tuning_seed

        def on_largest(tried: Sequence[tuple[str, float]]) -> list[Finding[TrainingRun]]:
            children = [self.run(self.sizes[-1], by_label[label], seed, lr) for label, lr in tried]
            return lab.run(TRAINING_RUN, children, "step sizes")

        starts = {label: entry["lr"] for label, entry in by_label.items()}
        found = self.best(starts, on_largest)
        return [{**entry, "lr": found[entry["label"]]} for entry in entries]

    @property
    def told(self) -> str:
        cut = " (name:k is the first k blocks: depth, not scale of pre-training)"
        return (
            f"{', '.join(self.sizes)}{cut if any(':' in size for size in self.sizes) else ''}; {self.task}; seeds "
            f"{', '.join(map(str, self.seeds))}; {self.steps} steps of {self.batch_size}; {self.scored_on}"
        )


@dataclass(frozen=True, kw_only=True)
class Plan(Setup):
    """One comparison per series, by the sizes of its methods."""

    series: tuple[tuple[tuple[str, ...], tuple[float, ...]], ...]
    """The scale's PLMs in growing size, and the step sizes on them."""
    sizes: tuple[str, ...] | None = setting(
        "one series instead: PLMs in growing size, name or name:k", None, role="model"
    )
    step_sizes: tuple[float, ...] | None = setting(
        "of adapter, LoRA, prefix, prompt, and last layer and random modules; none: the scale's", None
    )

    only: tuple[str, ...] | None = setting("of adapter, LoRA, prefix and prompt: those to compare; none: all", None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.only is not None and not (self.only and set(self.only) <= set(FOUR)):
            raise ValueError(f"only must name some of {', '.join(FOUR)}; got {', '.join(self.only) or 'none'}.")

    def configs(self) -> tuple[Series, ...]:
        chosen = self.series if self.sizes is None else ((self.sizes, self.series[0][1]),)
        return tuple(
            self.to(Series, sizes=sizes, methods=self.methods(self.step_sizes or lrs), head_lr=HEAD_STEP_SIZE)
            for sizes, lrs in chosen
        )

    def methods(self, step_sizes: Sequence[float]) -> tuple[dict[str, Any], ...]:
        """Label, step size and JSON of each; random modules, which have the last layer's budget, are left out."""
        methods: dict[str, DeltaMethod] = {
            "adapter": Adapter(bottleneck=self.bottleneck),
            "LoRA": LoRA(rank=self.rank),
            "prefix": Prefix(tokens=self.prefix_tokens),
            "prompt": Prompt(tokens=self.prompt_tokens),
            LAST: LastLayer(),
        }
        each = zip(methods.items(), step_sizes, strict=True)
        return tuple(
            {"label": label, "lr": lr, "method": method.to_json()}
            for (label, method), lr in each
            if self.only is None or label in (*self.only, LAST)
        )


def measure(c: Series, lab: Lab) -> Result:
    """Every method on every PLM, over the seeds; the last layer's count is the random modules' budget."""
    methods = c.with_step_sizes(c.methods, lab)
    cells = [(size, entry, run) for size in c.sizes for entry in methods for run in c.runs(size, entry)]
    found = lab.run(TRAINING_RUN, [run for *_, run in cells], "scale")
    rows = [row for (size, entry, _), run in zip(cells, found, strict=True) for row in _rows(size, entry["label"], run)]
    budgets = {
        size: run.metrics["tunable"] - run.metrics["head"]
        for (size, entry, _), run in zip(cells, found, strict=True)
        if entry["label"] == LAST
    }
    (modules,) = c.with_step_sizes([_random(c, budgets[c.sizes[-1]])], lab)
    drawn = [
        (size, run) for size in c.sizes for run in c.runs(size, {**_random(c, budgets[size]), "lr": modules["lr"]})
    ]
    found = lab.run(TRAINING_RUN, [run for _, run in drawn], f"scale {RANDOM}")
    rows += [row for (size, _), run in zip(drawn, found, strict=True) for row in _rows(size, RANDOM, run)]
    table = pd.DataFrame(rows)
    order = {size: n for n, size in enumerate(c.sizes)}
    table = table.sort_values("plm", key=lambda plms: plms.map(order), kind="stable", ignore_index=True)
    largest = finals(table).query("plm == @c.sizes[-1]").groupby("label", sort=False).score.mean()
    metrics = {f"{label}, largest PLM": float(score) for label, score in largest.to_dict().items()}
    return Result({"metric": table["metric"].iloc[0], **metrics}, {"scale": table})


def _random(c: Series, budget: int) -> dict[str, Any]:
    """Random modules of so many parameters, with the step size of the last layer."""
    return {"label": RANDOM, "lr": c.methods[-1]["lr"], "method": SelectiveModule(budget=budget).to_json()}


def _rows(size: str, label: str, run: Finding[TrainingRun]) -> Iterator[dict[str, Any]]:
    """One row per evaluation; with three splits the last one's score is that on test data."""
    m, history = run.metrics, run.tables["history"]
    steps = history[history.split == "validation"]
    scores = [*steps.score[:-1], reported(run)]
    for step, score in zip(steps.step, scores, strict=True):
        yield {
            "label": label, "plm": size, "parameters": m["native"], "seed": run.config.seed, "step": step,
            "score": score, "metric": m["metric"], "tunable": m["tunable"], "task": run.config.task,
        }  # fmt: skip


AS_GOOD = -0.01
"""Within a point of accuracy counts as "as good"."""


def claims(found: Sequence[Finding[Series]]) -> list[Verdict]:
    """Gains with size, convergence, the last layer, and random modules at its budget.

    A series of one PLM says nothing of size: only the last two are judged.
    """
    return [verdict for finding in found for verdict in _of_series(finding)]


def _of_series(finding: Finding[Series]) -> list[Verdict]:
    c, table, metric = finding.config, finding.tables["scale"], finding.metrics["metric"]
    small, large = c.sizes[0], c.sizes[-1]
    rises = rises_after_first(table, small)
    alone = small == large
    flat = f"; {small} learned nothing (no rise after its first evaluation), so nothing is compared with it"
    evidence = Evidence(SOURCE, c.told + ("" if rises else flat), "scale", "seeds", 10)
    of_size, larger, sooner = evidence, "The larger PLM reaches more", "the larger PLM"
    if any(":" in size for size in c.sizes):  # blocks cut off: what they carry, not what pre-training at scale gives
        of_size, larger = replace(evidence, source=DEPTH, number=None), f"{large} reaches more than {small}"
        sooner = f"{large} than on {small}"
    wide = finals(table).pivot_table(index="seed", columns=["plm", "label"], values="score", sort=False)
    gains = [] if alone else [
        of_size.above(
            0.0, known_if(rises, _over_seeds(wide[large, label] - wide[small, label], c)),
            f"{larger} with {label}.", f"score on {large} minus score on {small} [{metric}]",
        )
        for label in dict.fromkeys(table.label)
    ]  # fmt: skip
    on_large = pd.DataFrame(wide[large])
    compared = [label for label in FOUR if label in on_large]
    four, last, modules = on_large[compared].mean(axis=1), on_large[LAST], on_large[RANDOM]
    convergence = [] if alone else [
        of_size.below(
            0.0, faster(table, small, large), f"Delta methods converge faster on {sooner}.",
            f"steps on {large} minus steps on {small} to a level that both reach, mean over the methods [steps]",
        ),
    ]  # fmt: skip
    return [
        *gains,
        *convergence,
        evidence.below(
            0.0, _over_seeds(last - four, c, len(compared)), "Tuning the last layer alone is not a good strategy.",
            f"{large}: score of the last layer minus the mean of {', '.join(compared)} [{metric}]",
        ),
        evidence.above(
            AS_GOOD, _over_seeds(modules - four, c, len(compared)),
            "Randomly chosen modules do as well as the delta methods on average.",
            f"{large}: score of random modules minus the mean of {', '.join(compared)} [{metric}]",
        ),
        evidence.above(
            0.0, _over_seeds(modules - last, c),
            "Randomly chosen modules across the layers do better than as many parameters in the last layer.",
            f"{large}: score of random modules minus score of the last layer, at one budget [{metric}]",
        ),
    ]  # fmt: skip


def _over_seeds(differences: pd.Series, c: Series, n_averaged: int = 1) -> Interval:
    """Interval over seeds of differences of scores, or of a score and the mean of several."""
    return mean_interval(list(differences), resolution=c.resolution / n_averaged)


STEP_SIZES = (3e-3, 1e-2, 1e-1, 1e-2, 3e-4)
_DEMO = Plan(
    series=(
        (("minilm:1", "minilm:2", "minilm:3", "minilm:4", "minilm:5", "minilm"), STEP_SIZES),
        (("smollm2:10", "smollm2"), (3e-3, 3e-3, 3e-2, 1e-2, 3e-4)),
    ),
    task="bbc-news", seeds=(0, 1, 2, 3, 4), steps=24, batch_size=8, max_length=32, n_train=480, n_validation=120,
    evaluations=4, precision="bfloat16", splits=3, n_test=200, tuning_seed=5,
)  # fmt: skip

EXPERIMENT = Experiment(
    name="scale",
    question="do delta methods score higher, and sooner, on larger PLMs; do the last layer or random modules serve as "
    "well?",
    source="Ding et al. 2022, power of scale: MNLI, QNLI and SST-2 on T5-small, base and XXL, six methods.",
    varied="the PLM, the method, the seed (head, the method's random choices, order of examples).",
    tuned="with --tuning-seed every method, random modules included, takes the best of the same half-decades about its "
    "start on the largest PLM, by validation data; without, nothing: each has one step size for all PLMs of a series, "
    "on MiniLM that of `performance`, on SmolLM2 one that learns there.",
    fixed="steps, batch size, examples, sequence length; the head's step size; random modules have the last layer's "
    "budget.",
    expected="every method gains with size and reaches the level of the smallest PLM sooner; the last layer alone "
    "stays behind; random modules do not.",
    cost="demo: about 45 minutes on one core (MiniLM's first 1 to 6 blocks: 12; SmolLM2's first 10 and all 30: 33), a "
    "fifth of it for the step sizes. smoke: seconds.",
    view="methods",
    config=Series,
    scales={
        "smoke": Plan(
            series=((("tiny-bert:1", "tiny-bert:2"), STEP_SIZES),), task="rotten-tomatoes", seeds=(0, 1), steps=2,
            batch_size=4, max_length=12, n_train=16, n_validation=16, evaluations=2, rank=1, bottleneck=2,
            prefix_tokens=1, prompt_tokens=2, tuning_seed=2, smallest_grid=1, largest_grid=1,
        ),
        "demo": _DEMO,
        "paper": Plan(
            series=((("google/t5-v1_1-small", "google/t5-v1_1-base", "google/t5-v1_1-xxl"), STEP_SIZES),),
            task="glue/sst2", seeds=(0, 1, 2, 3, 4), steps=5000, batch_size=32, max_length=128, n_train=None,
            n_validation=None, evaluations=20, prompt_tokens=100, splits=3, tuning_seed=5,
        ),
    },
    measure=measure,
    figures=("scale",),
    claims=claims,
)  # fmt: skip
