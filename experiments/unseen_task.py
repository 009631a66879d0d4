"""What k coordinates are worth on a task that the subspace of others has not seen: a part of `shared_subspace`."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import pandas as pd

from lab.geometry.collections import gram
from lab.study import Experiment, Lab, Result, setting
from lab.study.amounts import training_steps
from lab.study.collected import Collected, collection_of, drawn_nulls, points_on, short, trained
from lab.study.coordinates import Trainer, places


@dataclass(frozen=True, kw_only=True)
class Scored(Collected):
    """A collection, and how coordinates are trained on tasks that its subspace has not seen."""

    ks: tuple[int, ...] = setting("trained coordinates; the most that the others span are added", low=1)
    lrs: tuple[float, ...] = setting(
        "step sizes of coordinates, in spreads of the members along them, chosen on validation data", (0.1, 0.5)
    )
    few_steps: int = training_steps("AdamW steps of coordinates and heads")


@dataclass(frozen=True, kw_only=True)
class UnseenTask(Scored):
    """One task, and what the others are worth for it."""

    target: str = setting("the unseen task, one of the tasks", role="task")
    shots: int | None = setting("training examples per class; none: as for the collection", None, low=1)


def measure_unseen(c: UnseenTask, lab: Lab) -> Result:
    """The full method's score, and that of every row for every number of coordinates."""
    held = collection_of(c, trained(c, lab)).in_memory()
    (full,) = trained(c, lab, tasks=[c.target], seeds=c.seeds[:1], shots=c.shots)
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


EXPERIMENT = Experiment(
    name="unseen_task",
    question="what are k trained coordinates worth on a task that the shared subspace has not seen?",
    config=UnseenTask,
    measure=measure_unseen,
    figures=("subspace_scores",),
    view="optimisation",
)
