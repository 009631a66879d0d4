"""A manual template and the language-model head, against a new classification head: zero-shot, few-shot, more data.

Question: how much does it help to put the task as the PLM's own task, and does that last when there are more data?
Source: Ding et al. 2022 and 2023 (Table 2): on GLUE a template lifts zero-shot from 23.7 to 43.4 on average, helps
    few-shot, and hardly matters with full data.
Varied: the reading (template with label words under the pre-trained language-model head; no template under a new
    classification head), the data (none, 16 per class, some hundred), seeds (head, split, order of examples).
Tuned: nothing here: the adapter has the step size of `performance`, the new head its own, the same at every amount.
Fixed: the PLM, one adapter, steps, batch size, sequence length.
Expected: far above chance at once with the template; the difference shrinks as data grow.
Cost: demo: about 10 minutes on two quiet cores (SmolLM2). smoke: seconds.

MiniLM has no language-model head, so the packaged PLM for this is SmolLM2, an instruction-tuned decoder: there the
template ends before its mask and the label word is the next token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import pandas as pd

from experiments.combination import HEAD_STEP_SIZE, SEEDS, STEP_SIZES
from experiments.training_run import child_job
from experiments.training_run import measure as train
from lab.deltas import Adapter, Combination
from lab.execution import Local
from lab.runs import Job, Record, Store
from lab.statistics import Verdict, absolute, mean_interval
from lab.statistics.template import READINGS, gains

NAME = "template"
FIGURES = ("template",)

SOURCE = "Ding et al. 2022, templates; Ding et al. 2023, Table 2"


@dataclass(frozen=True)
class Scale:
    """Everything a scale fixes. `n_train`: what "more data" are (None: all)."""

    model: str
    task: str
    steps: int
    few_shot_steps: int
    batch_size: int
    max_length: int
    n_train: int | None
    n_validation: int | None
    seeds: tuple[int, ...]
    shots: int = 16
    bottleneck: int = 64
    precision: str = "float32"


SCALES = {
    "smoke": Scale(
        "tiny-llama", "rotten-tomatoes", steps=2, few_shot_steps=1, batch_size=4, max_length=24, n_train=16,
        n_validation=12, seeds=(13, 21), shots=2, bottleneck=2,
    ),
    "demo": Scale(
        "smollm2", "bbc-news", steps=16, few_shot_steps=10, batch_size=8, max_length=32, n_train=240,
        n_validation=120, seeds=SEEDS[:3], precision="bfloat16",
    ),
    "paper": Scale(
        "smollm2", "rotten-tomatoes", steps=1000, few_shot_steps=200, batch_size=32, max_length=128, n_train=None,
        n_validation=None, seeds=SEEDS,
    ),
}  # fmt: skip


def jobs(
    scale: str, *, model: str | None = None, task: str | None = None, seeds: tuple[int, ...] | None = None
) -> list[Job]:
    """One comparison.

    Args:
        scale: "smoke", "demo" or "paper".
        model: name of a PLM with a language-model head; default: the scale's.
        task: name or path of a task with a manual template (`lab.tasks.manual_template`); default: the scale's.
        seeds: default: the scale's. A task folder's few-shot splits exist for 13, 21, 42, 87 and 100.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {sorted(SCALES)}.")
    given = {name: value for name, value in {"model": model, "task": task, "seeds": seeds}.items() if value is not None}
    config: dict[str, Any] = asdict(replace(SCALES[scale], **given))  # type: ignore[arg-type]
    return [Job(NAME, config | {"step_size": STEP_SIZES["adapter"], "head_step_size": HEAD_STEP_SIZE})]


def measure(job: Job, store: Store) -> Record:
    """Every reading on every amount of data, over the seeds."""
    c = job.config
    data = {"zero-shot": (None, 0), f"{c['shots']} per class": (c["shots"], c["few_shot_steps"])}
    data[f"{c['n_train'] or 'all'} examples"] = (None, c["steps"])
    cells = [
        (amount, reading, seed)
        for amount in data
        for reading in READINGS
        for seed in c["seeds"]
    ]  # fmt: skip
    children = [_child(c, *data[amount], reading == READINGS[0], seed) for amount, reading, seed in cells]
    records = Local(store).run(children, train, label=NAME)
    names = ("score", "train_score", "metric", "tunable", "train_seconds")
    table = pd.DataFrame(
        [
            {"label": f"{c['model']} · {c['task']}", "amount": amount, "reading": reading, "seed": seed,
             **{name: record.metrics[name] for name in names}}
            for (amount, reading, seed), record in zip(cells, records, strict=True)
        ]
    )  # fmt: skip
    means = table.groupby(["amount", "reading"], sort=False).score.mean().reset_index()
    metrics = {f"{row['amount']}, {row['reading']}": float(row["score"]) for row in means.to_dict("records")}
    return Record(job, {"metric": table["metric"].iloc[0], **metrics}, {NAME: table})


def _child(c: dict[str, Any], shots: int | None, steps: int, template: bool, seed: int) -> Job:
    """An adapter with a new head or none; of no steps, the PLM as it is. The form of a cell of `combination`."""
    seed = c["seeds"][0] if template and not steps else seed  # nothing is drawn: one run for all seeds
    method = Combination((Adapter(bottleneck=c["bottleneck"]),), (1.0,)) if steps else Combination()
    return child_job(
        c, method=method.to_json(), seed=seed, steps=steps, lr=c["step_size"], head_lr=c["head_step_size"],
        n_train=None if shots else c["n_train"], precision=c["precision"], shots=shots, template=template,
        train_evaluations="last", keep_phi=False,
    )  # fmt: skip


AT_MOST = 0.01
"""A gain of one point is what "hardly matters" allows here."""


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """What the template adds to the score and to the generalisation gap, seed by seed, on each amount of data."""
    return [verdict for record in records for verdict in (*_of_scores(record), *_of_gaps(record))]


def _of_scores(record: Record) -> list[Verdict]:
    table, metric = record.tables[NAME], record.metrics["metric"]
    by_amount = gains(table)
    claims: tuple[tuple[str, float, Literal["above", "below"]], ...] = (
        ("A manual template lifts zero-shot performance.", 0.0, "above"),
        ("A manual template helps few-shot.", 0.0, "above"),
        ("With more data a manual template hardly matters, or hurts.", AT_MOST, "below"),
    )
    found = []
    for amount, (claim, threshold, side) in zip(dict.fromkeys(table.amount), claims, strict=True):
        quantity = f"{amount}: score with template minus without, seed by seed [{metric}]"
        interval = mean_interval(by_amount[table.label.iloc[0], amount])
        found.append(Verdict(claim, SOURCE, quantity, interval, threshold, side, _setting(record), NAME, number=7))
    return found


def _of_gaps(record: Record) -> list[Verdict]:
    """Where something is trained: training minus validation score, with the template and without."""
    table, metric = record.tables[NAME], record.metrics["metric"]
    by_amount = gains(table.assign(score=table.train_score - table.score))
    claim = "A manual template does not change the generalisation gap (by less than a point)."
    source = "Ding et al. 2022, generalisation gap"
    found = []
    for amount in list(dict.fromkeys(table.amount))[1:]:
        quantity = f"{amount}: absolute gap with template minus gap without, seed by seed [{metric}]"
        interval = absolute(mean_interval(by_amount[table.label.iloc[0], amount]))
        found.append(Verdict(claim, source, quantity, interval, AT_MOST, "below", _setting(record), NAME, number=8))
    return found


def _setting(record: Record) -> str:
    c = record.job.config
    return (
        f"{c['model']}; {c['task']}; adapter; seeds {', '.join(map(str, c['seeds']))}; {c['few_shot_steps']} "
        f"(few-shot) or {c['steps']} steps of {c['batch_size']}; interval over seeds"
    )


def summary(store: Store, records: list[Record]) -> str:
    """Mean scores, with and without template."""
    lines = []
    for record in records:
        table = record.tables[NAME]
        lines.append(f"{table.label.iloc[0]}: {record.metrics['metric']}, mean over {table.seed.nunique()} seeds")
        for amount, part in table.groupby("amount", sort=False):
            means = part.groupby("reading", sort=False).score.mean()
            lines.append(f"  {amount!s:16s}" + "".join(f"   {reading} {means[reading]:.3f}" for reading in READINGS))
    lines += [f"{v.answer:20s} {v.claim} ({v.measured.estimate:+.3f})" for v in verdicts(records)]
    return "\n".join(lines)
