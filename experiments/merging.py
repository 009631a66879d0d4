"""What is left of many tasks when their changes are merged into one, and do principal angles tell what that costs?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import nan

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lab.geometry.collections import Collection, gram, input_moments, interference
from lab.runs.record import Scalar
from lab.statistics import Verdict
from lab.statistics.merging import UNTOUCHED, merging_verdicts
from lab.statistics.out_of_sample import predicted_out_of_sample
from lab.study import Experiment, Finding, Lab, Result, setting
from lab.study.collected import LORA, TASKS, TEXTS, Collected, Trained, changes_matrices, collection_of, trained
from lab.study.merged import Moments, candidates, losses_and_scores


@dataclass(frozen=True, kw_only=True)
class Merging(Collected):
    """A collection to merge: its runs are those of `shared_subspace` where the settings agree."""

    scales: tuple[float, ...] = setting(
        "λ·N of each merge that has a λ, by the mean validation loss over classifications: 1 is a mean, N a sum",
        (1.0, 2.0, 4.0),
        low=0,
    )
    k: int = setting("directions of the merge in the shared subspace", 8, low=1)
    n_pair: int = setting("test examples for the cost of adding one other change", 64, unit="example", low=1)


def measure(c: Merging, lab: Lab) -> Result:
    """Every task's score under every merge, and the cost of every other change, beside what angles forecast."""
    members = trained(c, lab)
    held = collection_of(c, members).in_memory()
    chosen, scales = _chosen(c, held, members)
    size = gram(held).norms ** 2  # ‖ΔW_j‖²
    overlap = interference(held) * size[:, None]  # ‖ΔW_jP_i‖², what j does on the inputs that i reads
    columns = held.vectors() @ torch.eye(len(held), dtype=held.dtype)
    tables: list[dict[str, object]] = []
    added: list[dict[str, object]] = []
    for i, own in enumerate(members):
        found = losses_and_scores(c, held, own, chosen | {UNTOUCHED: torch.zeros(held.layout.size)}, "test")
        gain = own.score - own.chance if own.learned else nan
        who = {"task": own.member.task, "type": own.member.type, "own": own.score, "chance": own.chance}
        tables += [
            who | {"merge": name, "loss": loss, "score": score, "relative": (score - own.chance) / gain,
                   "scale": scales.get(name, nan)}
            for name, (loss, score) in found.items()
        ]  # fmt: skip
        if own.run.data.kind != "classification":
            continue  # a squared error is in no nats
        sums = {f"{j}": columns[:, i] + columns[:, j] * (i != j) for j in range(len(held))}
        losses = {j: loss for j, (loss, _) in losses_and_scores(c, held, own, sums, "test", c.n_pair).items()}
        added += [
            {"one": own.member.name, "other": held.members[j].name, "types": _types(held, i, j),
             "overlap": overlap[i, j], "size": size[j], "excess": losses[f"{j}"] - losses[f"{i}"]}
            for j in range(len(held)) if held.members[j].task != own.member.task
        ]  # fmt: skip
    merged, costs = pd.DataFrame(tables), pd.DataFrame(added)
    costs["predicted"] = predicted_out_of_sample(costs, "overlap", "excess")
    means = merged.groupby("merge", sort=False).relative.mean().dropna()
    metrics: dict[str, Scalar] = {"tasks": len(c.tasks), "learned": sum(own.learned for own in members)}
    metrics |= {f"kept, {name}": float(value) for name, value in means.items()}
    return Result(metrics, {"merging": merged.assign(label=c.label), "interference": costs.assign(label=c.label)})


def _chosen(c: Merging, held: Collection, members: Sequence[Trained]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Merge -> its point and its λ·N: the one of the lowest mean loss on the tasks' validation data."""
    made = {
        (name, scale): point
        for name, scale, point in candidates(held, _moments(c, held, members), scales=c.scales, k=c.k)
    }
    named = {f"{name} {scale}": point for (name, scale), point in made.items()}
    counted = [own for own in members if own.run.data.kind == "classification"]  # a squared error is in no nats
    losses = [losses_and_scores(c, held, own, named, "validation") for own in counted]
    mean = {which: float(np.mean([loss["{} {}".format(*which)][0] for loss in losses])) for which in made}
    best = {name: min((w for w in made if w[0] == name), key=mean.__getitem__) for name, _ in made}
    return {name: made[which] for name, which in best.items()}, {name: scale for name, (_, scale) in best.items()}


def _moments(c: Merging, held: Collection, members: Sequence[Trained]) -> Moments | None:
    """Second moments of the layers' inputs at θ₀, of some training texts of each member's task."""
    if not changes_matrices(c.how, c.model):
        return None
    plm = c.opened()

    @cache
    def of(i: int) -> dict[str, Tensor]:
        encoded = members[i].run.data.encode(plm, max_length=c.max_length)
        sums, counts = input_moments(plm, encoded.train.batches(TEXTS, size=4 * TEXTS), held.names)
        return {name: sums[name] / counts[name] for name in held.names}

    return lambda i, name: of(i)[name]


def _types(held: Collection, i: int, j: int) -> str:
    return "inside" if held.members[i].type == held.members[j].type else "across"


def claims(found: Sequence[Finding[Merging]]) -> list[Verdict]:
    """Merges against the mean, and the forecast of what a merge costs against nulls."""
    return [
        verdict
        for f in found
        for verdict in merging_verdicts(
            f.tables["merging"], f.tables["interference"],
            f"{f.tables['merging'].label.iloc[0]}; {len(f.config.tasks)} tasks; {f.config.steps} steps",
        )
    ]  # fmt: skip


_DEMO = Merging(
    model="minilm", tasks=TASKS, method=LORA, lr=5e-3, steps=100, n_train=800, n_validation=60, n_test=150,
    max_length=24,
)  # fmt: skip

EXPERIMENT = Experiment(
    name="merging",
    question="what is left of many tasks when their changes are merged into one, and do angles tell what that costs?",
    source="Ilharco et al. 2023; Yadav et al. 2023; Yu et al. 2024; Jin et al. 2023.",
    varied="the merge; for pairs of tasks, which change is added to which.",
    tuned="λ of each merge, by the mean validation loss over tasks; scores are of test data.",
    fixed="the trained changes, and the head that came with each.",
    expected="all merges lose much on unlike tasks; least squares least; cost grows with the overlap of inputs.",
    cost="demo: 10 minutes on one quiet core beside `shared_subspace`, whose runs it reads. smoke: seconds.",
    view="optimisation",
    config=Merging,
    scales={
        "smoke": replace(
            _DEMO, model="tiny-bert", method={"method": "lora", "rank": 2}, steps=2,
            tasks=("rotten-tomatoes", "bbc-news", "drug-reviews", "same-topic", "next-sentence"),
            n_train=32, n_validation=8, n_test=16, max_length=8,
            batch_size=4, scales=(1.0,), k=2, n_pair=8,
        ),
        "demo": _DEMO,
        "paper": replace(_DEMO, steps=1000, n_train=4000, n_validation=400, n_test=1000, max_length=128, n_pair=400),
    },
    measure=measure,
    figures=("merging", "interference"),
    claims=claims,
)  # fmt: skip
