"""Do changes of many tasks to one PLM share a low-dimensional subspace, and what is it worth on a new task?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan

import pandas as pd

from lab.geometry.collections import gram, portrait
from lab.runs.record import Scalar
from lab.statistics import Verdict
from lab.statistics.shared_subspace import subspace_verdicts
from lab.study import Experiment, Finding, Lab, Result, setting
from lab.study.collected import LORA, PROMPT, TASKS, Collected, collection_of, drawn_nulls, points_on, short, trained
from lab.study.coordinates import Trainer, places


@dataclass(frozen=True, kw_only=True)
class Scored(Collected):
    """A collection, and how coordinates are trained on tasks that its subspace has not seen."""

    ks: tuple[int, ...] = setting("trained coordinates; the most that the others span are added", low=1)
    lrs: tuple[float, ...] = setting(
        "step sizes of coordinates, in spreads of the members along them, chosen on validation data", (0.1, 0.5)
    )
    few_steps: int = setting("AdamW steps of coordinates and heads", unit="step", low=1)


@dataclass(frozen=True, kw_only=True)
class UnseenTask(Scored):
    """One task, and what the others are worth for it."""

    target: str = setting("the unseen task, one of the tasks", role="task")
    shots: int | None = setting("training examples per class; none: as for the collection", None, low=1)


@dataclass(frozen=True, kw_only=True)
class SharedSubspace(Scored):
    """A collection: its geometry, and the score table of some of its tasks."""

    targets: tuple[str, ...] = setting("tasks to score as unseen ones; (none): geometry alone", (), role="task")
    shots: tuple[int, ...] = setting("training examples per class, beside the collection's own number", (), low=1)
    draws: int = setting("of every null", 19, low=19)

    def __post_init__(self) -> None:
        super().__post_init__()
        if strange := sorted(set(self.targets) - set(self.tasks)):
            raise ValueError(
                f"targets are tasks of the collection; {', '.join(strange)}: not among --tasks. Give --targets."
            )

    def unseen(self) -> list[UnseenTask]:
        return [self.to(UnseenTask, target=t, shots=n) for n in (None, *self.shots) for t in self.targets]


def measure_unseen(c: UnseenTask, lab: Lab) -> Result:
    """The full method's score, and that of every row for every number of coordinates."""
    held = collection_of(c, trained(c, lab)).in_memory()
    full = trained(c, lab, tasks=[c.target], shots=c.shots)[0]
    others = [task for task in c.tasks if task != c.target]
    trainer = Trainer(full.run, c.few_steps, c.lrs, c.head_lr)
    most = len(others) * len(c.seeds) - 1
    rows = places(held, gram(held), c.tasks.index(c.target), lambda part: drawn_nulls(c, part, others))
    ks = sorted({min(k, most) for k in (*c.ks, most)})
    table = pd.concat([trainer.scores(row, ks, lambda plm: points_on(c, plm, held)) for row in rows], ignore_index=True)
    table["relative"] = (table.score - full.chance) / (full.score - full.chance) if full.learned else nan
    label = c.label if c.shots is None else f"{c.label}, {c.shots} shots"
    table = table.assign(label=label, task=short(c.target), type=full.member.type, chance=full.chance, full=full.score)
    return Result({"full": full.score, "chance": full.chance, "learned": full.learned}, {"subspace_scores": table})


def measure(c: SharedSubspace, lab: Lab) -> Result:
    """Shares beside nulls, left-out units, a map, a curve over tasks; and the tables of the unseen tasks."""
    members = trained(c, lab)
    held = collection_of(c, members).in_memory()
    found = portrait(held, drawn_nulls(c, held, c.tasks), n_draws=c.draws, label=c.label)
    tables = dict(found.tables)
    metrics: dict[str, Scalar] = {
        "tasks": len(c.tasks), "types": len({each.member.type for each in members}),
        "learned": sum(each.learned for each in members), "mean_alone": float(found.beyond[0].shares[0]),
        "explained": float(found.beyond[0].shares[-1]),
        **{f"directions beyond {comparison.null}": comparison.n_directions for comparison in found.beyond},
    }  # fmt: skip
    if c.targets:
        parts = lab.run(UNSEEN, c.unseen(), f"unseen tasks, {c.how.title}")
        tables["subspace_scores"] = scores = pd.concat([p.tables["subspace_scores"] for p in parts], ignore_index=True)
        own = scores[(scores.label == c.label) & scores.relative.notna()]
        best = own.groupby(["row", "k"]).relative.mean().groupby("row").max()
        metrics |= {f"relative, {row}": float(value) for row, value in best.items()}
    return Result(metrics, tables)


def claims(found: Sequence[Finding[SharedSubspace]]) -> list[Verdict]:
    """One subspace for many tasks, beside what chance and the PLM's activations share."""
    verdicts = []
    for finding in found:
        beside, scores = finding.tables["beside_nulls"], finding.tables.get("subspace_scores")
        label, c = beside["label"].iloc[0], finding.config
        where = f"{label}; {len(c.tasks)} tasks of {finding.metrics['types']} types; {c.steps} steps of {c.batch_size}"
        verdicts += subspace_verdicts(beside, None if scores is None else scores[scores.label == label], where)
    return verdicts


UNSEEN = Experiment(
    name="unseen_task",
    question="what are k trained coordinates worth on a task that the shared subspace has not seen?",
    config=UnseenTask,
    measure=measure_unseen,
    figures=("subspace_scores",),
    view="optimisation",
)

_DEMO = SharedSubspace(
    model="minilm", tasks=TASKS, method=LORA, lr=5e-3, steps=100, n_train=800, n_validation=60, n_test=150,
    max_length=24, ks=(1, 5), few_steps=40, targets=("rotten-tomatoes", "bbc-news", "sentence-length", "same-topic"),
)  # fmt: skip
_TINY = replace(
    _DEMO, model="tiny-bert", tasks=("rotten-tomatoes", "bbc-news", "drug-reviews", "same-topic", "next-sentence"),
    method={"method": "lora", "rank": 2}, steps=2, n_train=32, n_validation=8, n_test=16, max_length=8, batch_size=4,
    ks=(1,), lrs=(0.1,), few_steps=1, targets=("bbc-news",),
)  # fmt: skip

EXPERIMENT = Experiment(
    name="shared_subspace",
    question="do changes of many tasks share a subspace beyond chance and activations, and what is it worth on a new "
    "task?",
    source="Qin et al. 2021 (one low-dimensional subspace for many tasks), and 2512.05117 (universal subspaces).",
    varied="the task; what explains its change: other tasks, nulls; where k coordinates are trained on an unseen task.",
    tuned="the coordinates' step size, in every row alike, on validation data; a head's where the body is fixed.",
    fixed="PLM, method, steps, batch size; LoRA's starts differ from task to task, prompts share one.",
    expected="a mean and a few directions beyond random ones, less beyond the activations; scores above Fastfood's.",
    cost="demo: half an hour on one quiet core (MiniLM). smoke: seconds.",
    view="optimisation",
    config=SharedSubspace,
    scales={
        "smoke": (_TINY, replace(_TINY, method={"method": "prompt", "tokens": 2}, own_starts=False, targets=())),
        "demo": (_DEMO, replace(_DEMO, method=PROMPT, lr=3e-2, own_starts=False, targets=())),
        "paper": (_DEMO,),
    },
    measure=measure,
    figures=("shared_directions", "left_out_tasks", "subspace_scores", "task_map", "tasks_needed"),
    claims=claims,
)
