"""Six delta methods on PLMs of growing size: what each reaches, how soon, and does it matter where parameters stand.

Question: do delta methods reach more, and sooner, on larger PLMs; do the last layer or random modules serve as well?
Source: Ding et al. 2022, power of scale: MNLI, QNLI and SST-2 on T5-small, base and XXL, six methods.
Varied: the PLM, the method, the seed (head, the method's random choices, order of examples).
Tuned: nothing here: each method has one step size for all PLMs of a series: on MiniLM that of `performance`, on SmolLM2
    one that learns there.
Fixed: steps, batch size, examples, sequence length; the head's step size; random modules have the last layer's budget.
Expected: every method gains with size and is sooner at the level of the smallest PLM; the last layer alone stays
    behind; random modules do not.
Cost: demo: about 18 minutes on one core (MiniLM's first 1 to 6 blocks: 5; SmolLM2's first 10 and all 30: 13). smoke:
    seconds.

What "size" is here. The packaged series are MiniLM and SmolLM2 cut after their first k blocks: depth, not scale of
pre-training. A cut PLM was never trained to be read at that block, so it says how much of the adaptation the later
blocks carry, and only by analogy what a smaller PLM would do; the more so on MiniLM, whose head reads [CLS], the state
of which hardly depends on the text in blocks 1 to 5 (docs/combination.md). SmolLM2's head reads the last token. With
--sizes the series can be any PLMs, such as those of the hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

import pandas as pd

from experiments.combination import HEAD_STEP_SIZE
from experiments.training_run import child_job
from experiments.training_run import measure as train
from lab.deltas import Adapter, DeltaMethod, LastLayer, LoRA, Prefix, Prompt, SelectiveModule
from lab.execution import Local
from lab.runs import Job, Record, Store
from lab.statistics import Interval, Verdict, mean_interval, stratified_interval
from lab.statistics.convergence import steps_to_common_level
from lab.statistics.scale import finals

NAME = "scale"
FIGURES = ("scale",)

SOURCE = "Ding et al. 2022, power of scale"
FOUR = ("adapter", "LoRA", "prefix", "prompt")
LAST, RANDOM = "last layer", "random modules"


@dataclass(frozen=True)
class Scale:
    """Everything a series fixes.

    Attributes:
        sizes: PLMs in growing size, "name" or "name:k" for its first k blocks.
        step_sizes: of adapter, LoRA, prefix, prompt, and last layer and random modules.
    """

    sizes: tuple[str, ...]
    task: str
    seeds: tuple[int, ...]
    steps: int
    batch_size: int
    max_length: int
    n_train: int | None
    n_validation: int | None
    evaluations: int
    rank: int = 8
    bottleneck: int = 64
    prefix_tokens: int = 5
    prompt_tokens: int = 20
    precision: str = "float32"
    step_sizes: tuple[float, ...] = (3e-3, 1e-2, 1e-1, 1e-2, 3e-4)

    def methods(self) -> dict[str, tuple[DeltaMethod, float]]:
        """Label -> method and step size, random modules apart: they have the last layer's budget."""
        methods: dict[str, DeltaMethod] = {
            "adapter": Adapter(bottleneck=self.bottleneck),
            "LoRA": LoRA(rank=self.rank),
            "prefix": Prefix(tokens=self.prefix_tokens),
            "prompt": Prompt(tokens=self.prompt_tokens),
            LAST: LastLayer(),
        }
        return {name: (m, lr) for (name, m), lr in zip(methods.items(), self.step_sizes, strict=True)}


_MINILM = Scale(
    ("minilm:1", "minilm:2", "minilm:3", "minilm:4", "minilm:5", "minilm"), "bbc-news", (0, 1, 2), steps=24,
    batch_size=8, max_length=32, n_train=480, n_validation=120, evaluations=4, precision="bfloat16",
)  # fmt: skip
_SMOLLM2 = replace(_MINILM, sizes=("smollm2:10", "smollm2"), step_sizes=(3e-3, 3e-3, 3e-2, 1e-2, 3e-4))
SERIES = {
    "smoke": (Scale(
        ("tiny-bert:1", "tiny-bert:2"), "rotten-tomatoes", (0, 1), steps=2, batch_size=4, max_length=12, n_train=16,
        n_validation=16, evaluations=2, rank=1, bottleneck=2, prefix_tokens=1, prompt_tokens=2,
    ),),
    "demo": (_MINILM, _SMOLLM2),
    "paper": (Scale(
        ("google/t5-v1_1-small", "google/t5-v1_1-base", "google/t5-v1_1-xxl"), "glue/sst2", (0, 1, 2, 3, 4), steps=5000,
        batch_size=32, max_length=128, n_train=None, n_validation=None, evaluations=20, prompt_tokens=100,
    ),),
}  # fmt: skip


def jobs(
    scale: str,
    *,
    sizes: tuple[str, ...] | None = None,
    task: str | None = None,
    seeds: tuple[int, ...] | None = None,
    steps: int | None = None,
) -> list[Job]:
    """One job per series.

    Args:
        scale: "smoke", "demo" (MiniLM, SmolLM2) or "paper" (the source's PLMs, from the hub).
        sizes: one series instead of the scale's: PLMs in growing size, names for `load_plm`, or "name:k" for the first
            k blocks.
        task: name or path for `load_task`; default: the scale's.
        seeds: default: the scale's.
        steps: of every run; default: the scale's.
    """
    if scale not in SERIES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {sorted(SERIES)}.")
    given = {"sizes": sizes, "task": task, "seeds": seeds, "steps": steps}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return [_job(replace(series, **changes)) for series in (SERIES[scale] if sizes is None else SERIES[scale][:1])]


def _job(series: Scale) -> Job:
    for size in series.sizes:
        model_and_depth(size)
    methods = [
        {"label": label, "lr": lr, "method": method.to_json()} for label, (method, lr) in series.methods().items()
    ]
    config = {name: value for name, value in asdict(series).items() if name != "step_sizes"}
    return Job(NAME, {**config, "methods": methods, "head_lr": HEAD_STEP_SIZE})


def model_and_depth(size: str) -> tuple[str, int | None]:
    """The PLM's name and how many blocks to keep.

    Raises:
        ValueError: what stands after the colon is no number.

    Example:
        >>> model_and_depth("minilm:3"), model_and_depth("minilm")
        (('minilm', 3), ('minilm', None))
    """
    name, _, depth = size.partition(":")
    if depth and not depth.isdecimal():
        raise ValueError(f"a size is a PLM's name, or name:k for its first k blocks; got {size!r}.")
    return name, int(depth) if depth else None


def measure(job: Job, store: Store) -> Record:
    """Every method on every PLM, over the seeds; the last layer's count is the random modules' budget."""
    c = job.config
    rows: list[dict[str, Any]] = []
    for size in c["sizes"]:
        for entry in c["methods"]:
            records = _runs(c, size, entry, store)
            rows += [row for record in records for row in _rows(size, entry["label"], record)]
        last = records[0].metrics  # the last layer comes last
        method = SelectiveModule(budget=int(last["tunable"]) - int(last["head"]))  # type: ignore[arg-type]
        entry = {"label": RANDOM, "lr": c["methods"][-1]["lr"], "method": method.to_json()}
        rows += [row for record in _runs(c, size, entry, store) for row in _rows(size, RANDOM, record)]
    table = pd.DataFrame(rows)
    largest = finals(table).query("plm == @c['sizes'][-1]").groupby("label", sort=False).score.mean()
    metrics = {f"{label}, largest PLM": float(score) for label, score in largest.items()}  # type: ignore[misc]
    return Record(job, {"metric": table["metric"].iloc[0], **metrics}, {NAME: table})


def _runs(c: dict[str, Any], size: str, entry: dict[str, Any], store: Store) -> list[Record]:
    model, depth = model_and_depth(size)
    children = [
        child_job(
            c, model=model, n_layers=depth, method=entry["method"], seed=seed, lr=entry["lr"], head_lr=c["head_lr"],
            evaluations=c["evaluations"], precision=c["precision"], train_evaluations="last", keep_phi=False,
        )
        for seed in c["seeds"]
    ]  # fmt: skip
    return Local(store).run(children, train, label=f"{size} {entry['label']}")


def _rows(size: str, label: str, record: Record) -> list[dict[str, Any]]:
    """One row per evaluation."""
    m = record.metrics
    history = record.tables["history"]
    return [
        {"label": label, "plm": size, "parameters": m["native"], "seed": record.job.config["seed"], "step": row["step"],
         "score": row["score"], "metric": m["metric"], "tunable": m["tunable"], "task": record.job.config["task"]}
        for row in history[history.split == "validation"].to_dict("records")
    ]  # fmt: skip


AS_GOOD = -0.01
"""Within a point of accuracy counts as "as good"."""


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """Gains with size, convergence, the last layer, and random modules at its budget."""
    return [verdict for record in records for verdict in _of_series(record)]


def _of_series(record: Record) -> list[Verdict]:
    c, table = record.job.config, record.tables[NAME]
    small, large = c["sizes"][0], c["sizes"][-1]
    seeds = ", ".join(map(str, c["seeds"]))
    cut = (
        " (name:k is the first k blocks: depth, not scale of pre-training)" if any(":" in s for s in c["sizes"]) else ""
    )
    rises = learned(table, small)
    flat = (
        ""
        if rises
        else f"; {small} learned nothing (no rise after its first evaluation), so nothing is compared with it"
    )
    shared: dict[str, Any] = {
        "setting": f"{', '.join(c['sizes'])}{cut}; {c['task']}; seeds {seeds}; {c['steps']} steps of {c['batch_size']}"
        f"{flat}",
        "figure": NAME,
        "number": 10,
    }
    metric = record.metrics["metric"]
    wide = finals(table).pivot_table(index="seed", columns=["plm", "label"], values="score", sort=False)
    found = [
        Verdict(
            f"The larger PLM reaches more with {label}.", SOURCE,
            f"score on {large} minus score on {small} [{metric}]",
            _if(rises, mean_interval(list(wide[large, label] - wide[small, label]))), 0.0, "above", **shared,
        )
        for label in dict.fromkeys(table.label)
    ]  # fmt: skip
    on_large = wide[large]
    four = on_large[list(FOUR)].mean(axis=1)
    found += [
        Verdict(
            "Delta methods converge faster on the larger PLM.", SOURCE,
            f"steps on {large} minus steps on {small} to a level that both reach, mean over the methods [steps]",
            faster(table, small, large), 0.0, "below", **shared,
        ),
        Verdict(
            "Tuning the last layer alone is not a good strategy.", SOURCE,
            f"{large}: score of the last layer minus the mean of {', '.join(FOUR)} [{metric}]",
            mean_interval(list(on_large[LAST] - four)), 0.0, "below", **shared,
        ),
        Verdict(
            "Randomly chosen modules do as well as the delta methods on average.", SOURCE,
            f"{large}: score of random modules minus the mean of {', '.join(FOUR)} [{metric}]",
            mean_interval(list(on_large[RANDOM] - four)), AS_GOOD, "above", **shared,
        ),
        Verdict(
            "Randomly chosen modules across the layers do better than as many parameters in the last layer.", SOURCE,
            f"{large}: score of random modules minus score of the last layer, at one budget [{metric}]",
            mean_interval(list(on_large[RANDOM] - on_large[LAST])), 0.0, "above", **shared,
        ),
    ]  # fmt: skip
    return found


def faster(table: pd.DataFrame, small: str, large: str) -> Interval:
    """Steps on the larger PLM minus steps on the smaller to a common level; seeds within methods.

    Where the smaller PLM has learned nothing its level is chance, and being there early is no convergence: the interval
    is then open.
    """
    as_tasks = table.assign(task=table.label, label=table.plm)
    return _if(learned(table, small), stratified_interval(steps_to_common_level(as_tasks, large, small)))


def learned(table: pd.DataFrame, plm: str) -> bool:
    """Whether a PLM's score rises from the first evaluation to the last, mean over methods, by its whole interval over
    seeds. One that stays at chance cannot be read: what others reach beyond it is no effect of size."""
    own = table[table.plm == plm].sort_values("step", kind="stable").groupby(["label", "seed"]).score
    return mean_interval(list((own.last() - own.first()).groupby("seed").mean())).low > 0


def _if(known: bool, found: Interval) -> Interval:
    """The interval, open where nothing can be known."""
    return found if known else replace(found, low=-inf, high=inf)


def summary(store: Store, records: list[Record]) -> str:
    """Mean scores per PLM and method."""
    lines = []
    for record in records:
        table = finals(record.tables[NAME])
        sizes = list(dict.fromkeys(table.plm))
        lines.append(f"{'method':16s}" + "".join(f"{size[-16:]:>18s}" for size in sizes))
        for label, part in table.groupby("label", sort=False):
            means = part.groupby("plm", sort=False).score.mean()
            lines.append(f"{label!s:16s}" + "".join(f"{means[size]:18.3f}" for size in sizes))
    lines += [f"{v.answer:20s} {v.claim} ({v.measured.estimate:+.3f})" for v in verdicts(records)]
    return "\n".join(lines)
