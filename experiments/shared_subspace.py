"""Do changes of many tasks to one PLM share a low-dimensional subspace, and what is it worth on a new task?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from experiments.unseen_task import EXPERIMENT as UNSEEN
from experiments.unseen_task import Scored, UnseenTask
from lab.geometry.collections import portrait
from lab.runs.record import Scalar
from lab.statistics import Verdict
from lab.statistics.shared_subspace import sharing_verdicts, worth_verdicts
from lab.study import Experiment, Finding, Lab, Result, setting
from lab.study.collected import LORA, PROMPT, TASKS, changes_matrices, collection_of, drawn_nulls, trained


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


def measure(c: SharedSubspace, lab: Lab) -> Result:
    """Shares beside nulls, left-out units, a map, a curve over tasks; and the tables of the unseen tasks."""
    members = trained(c, lab)
    held = collection_of(c, members).in_memory()
    found = portrait(held, drawn_nulls(c, held, c.tasks), n_draws=c.draws, label=c.label)
    tables = dict(found.tables)
    metrics: dict[str, Scalar] = {
        "compared": "ΔW" if changes_matrices(c.how, c.model) else "φ − φ₀",
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
    """One subspace for many tasks, beside what chance and the PLM's activations share.

    The findings are of one collection: its geometry is judged where it has most seeds, what coordinates are worth
    where most tasks were scored.
    """
    judged = [f for f in found if f.metrics.get("compared") != "ΔW" or f.config.own_starts]
    if not judged:
        return []  # one start A₀ makes all tasks share its rows
    most_seeds = max(judged, key=lambda f: len(f.config.seeds))
    verdicts = sharing_verdicts(most_seeds.tables["beside_nulls"], _where(most_seeds))
    scored = max(judged, key=lambda f: len(f.config.targets))
    if scored.config.targets:
        scores = scored.tables["subspace_scores"]
        verdicts += worth_verdicts(scores[scores.label == scored.config.label], _where(scored))
    return verdicts


def _where(finding: Finding[SharedSubspace]) -> str:
    c = finding.config
    where = f"{c.label}; {len(c.tasks)} tasks of {finding.metrics['types']} types; {c.steps} steps of {c.batch_size}"
    return where + (f"; {len(c.seeds)} seeds" if len(c.seeds) > 1 else "")


_DEMO = SharedSubspace(
    model="minilm", tasks=TASKS, method=LORA, lr=5e-3, steps=100, n_train=800, n_validation=60, n_test=150,
    max_length=24, ks=(1, 5), few_steps=40, targets=("rotten-tomatoes", "bbc-news", "sentence-length", "same-topic"),
)  # fmt: skip
_TINY = replace(
    _DEMO, model="tiny-bert", tasks=("rotten-tomatoes", "bbc-news", "drug-reviews", "same-topic", "next-sentence"),
    method={"method": "lora", "rank": 2}, steps=2, n_train=32, n_validation=8, n_test=16, max_length=8, batch_size=4,
    ks=(1,), lrs=(0.1,), few_steps=1, targets=("bbc-news",),
)  # fmt: skip
_TINY_PROMPT = replace(
    _TINY, method={"method": "prompt", "tokens": 2}, own_starts=False, seeds=(0, 1), targets=("drug-reviews",),
    shots=(4,),
)  # fmt: skip
_ONE_START = replace(_DEMO, own_starts=False, targets=())
_PAPER = replace(
    _DEMO, steps=1000, n_train=4000, n_validation=400, n_test=1000, max_length=128, batch_size=32, seeds=(0, 1),
    ks=(1, 2, 3, 4, 5, 6), few_steps=300, lrs=(0.03, 0.1, 0.3, 1.0), targets=TASKS, shots=(32,),
)  # fmt: skip
_LARGER = replace(_PAPER, model="smollm2", lr=2e-3, steps=500, seeds=(0,), targets=("bbc-news", "same-topic"), shots=())

EXPERIMENT = Experiment(
    name="shared_subspace",
    question="do changes of many tasks share a subspace beyond chance and activations, and what is it worth on a new "
    "task?",
    source="Qin et al. 2021 (one low-dimensional subspace for many tasks), and 2512.05117 (universal subspaces).",
    varied="the task; what explains its change: other tasks, nulls; where k coordinates are trained on an unseen task.",
    tuned="the coordinates' step size, in every row alike, on validation data; a head's where the body is fixed.",
    fixed="PLM, method, steps, batch size; LoRA's starts differ from task to task, prompts share one.",
    expected="a mean and a few directions beyond random ones, less beyond the activations; scores above Fastfood's.",
    cost="demo: half an hour on one quiet core (MiniLM); with twelve tasks in folders, too. smoke: seconds.",
    view="optimisation",
    config=SharedSubspace,
    scales={
        "smoke": (_TINY, _TINY_PROMPT),
        "demo": (_DEMO, _ONE_START, replace(_ONE_START, method=PROMPT, lr=3e-2)),
        "paper": (_PAPER, replace(_PAPER, method=PROMPT, lr=3e-2, own_starts=False), _LARGER),
    },
    measure=measure,
    figures=("shared_directions", "left_out_tasks", "subspace_scores", "task_map", "tasks_needed"),
    claims=claims,
    replicates=("seeds", "targets", "shots", "ks", "lrs", "few_steps", "n_test", "draws"),
)
