"""Intrinsic prompt tuning of any delta: what an autoencoder of trained φ finds that plain PCA of them does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import pandas as pd

from lab.runs.record import Scalar
from lab.statistics import Verdict
from lab.statistics.intrinsic_prompt import OTHER_METHOD, intrinsic_verdicts
from lab.study import Experiment, Finding, Lab, Result, setting
from lab.study.autoencoder import autoencoder, pca_decoder
from lab.study.collected import LORA, PROMPT, TASKS, short, trained
from lab.study.coordinates import Trainer
from lab.study.intrinsic import Intrinsic, decoded, seen_task_loss, settled_at, standardised


@dataclass(frozen=True, kw_only=True)
class Dimension(Intrinsic):
    """One dimension of z."""

    k: int = setting("d_I, the dimension of z", low=1)


@dataclass(frozen=True, kw_only=True)
class IntrinsicPrompt(Intrinsic):
    """All dimensions; what the seen tasks do not span is capped."""

    ks: tuple[int, ...] = setting("d_I, capped at the number of seen tasks less one", (2, 5, 10, 50), low=1)

    def parts(self) -> list[Dimension]:
        return [self.to(Dimension, k=k) for k in sorted({min(k, len(self.seen) - 1) for k in self.ks})]


def measure_dimension(c: Dimension, lab: Lab) -> Result:
    """Decoders of the seen tasks' φ, then k coordinates of each on the scored tasks."""
    runs = [trained(method, lab) for method in c.methods]
    names = [short(task) for task in c.seen]
    seen = [[own for own in each if own.member.task in names] for each in runs]
    data = standardised(c.methods, seen)
    loss = seen_task_loss(c.methods, seen, data)
    given: dict[str, Any] = {"steps": c.whole_steps, "alpha": c.alpha, "warm_up": c.warm_up, "seed": c.seeds[0]}
    decoders = [
        pca_decoder(data, c.k), autoencoder(data, c.k, loss, **given),
        autoencoder(data, c.k, loss, hidden=c.hidden, **given),
    ]  # fmt: skip
    rows: list[dict[str, object]] = []
    for decoder in decoders:
        for place, task in enumerate(c.tasks):
            if task not in c.scored:
                continue
            z = None
            for m, method in enumerate(c.methods):
                own, plm = runs[m][place], runs[m][place].run.opened()
                trainer = Trainer(own.run, c.few_steps, c.lrs, c.head_lr)
                found = {decoder.name: trainer.best(decoded(method, plm, decoder, data, m))}
                if z is not None:
                    at = settled_at(method, plm, decoder, data, m, z)
                    found[f"{decoder.name}{OTHER_METHOD}"] = trainer.best(at, fixed=True)
                z = found[decoder.name].phi[: c.k]
                label = method.label if c.joint_with is None else f"{method.label}, joint"
                gain = own.score - own.chance if own.learned else nan
                rows += [
                    {"label": label, "row": row, "task": own.member.task, "type": own.member.type, "k": c.k,
                     "seen": "unseen" if task in c.unseen else "seen", "score": best.score, "full": own.score,
                     "chance": own.chance, "relative": (best.score - own.chance) / gain, "cap": len(c.seen) - 1}
                    for row, best in found.items()
                ]  # fmt: skip
    errors = {f"error, {decoder.name}": decoder.error for decoder in decoders}
    return Result({"k": c.k, **errors}, {"intrinsic_prompt": pd.DataFrame(rows)})


def measure(c: IntrinsicPrompt, lab: Lab) -> Result:
    """All dimensions."""
    parts = lab.run(DIMENSION, c.parts(), f"dimensions of z, {c.how.title}")
    table = pd.concat([part.tables["intrinsic_prompt"] for part in parts], ignore_index=True)
    means = table.dropna(subset=["relative"]).groupby(["seen", "row", "k"], as_index=False).relative.mean()
    best = means.groupby(["seen", "row"], as_index=False).relative.max()
    metrics: dict[str, Scalar] = {"seen": len(c.seen), "unseen": len(c.unseen), "largest k": len(c.seen) - 1}
    metrics |= {f"relative, {r['seen']}, {r['row']}": float(r["relative"]) for r in best.to_dict("records")}
    return Result(metrics, {"intrinsic_prompt": table})


def claims(found: Sequence[Finding[IntrinsicPrompt]]) -> list[Verdict]:
    """What five coordinates recover, and the autoencoder beside PCA.

    Of one method's subspace, as Qin et al. say it: a joint one serves two methods and is held against neither's number.
    """
    verdicts = []
    for finding in found:
        c = finding.config
        if c.joint_with is None:
            where = f"{c.label}; {len(c.seen)} seen and {len(c.unseen)} unseen tasks; {c.steps} steps of {c.batch_size}"
            verdicts += intrinsic_verdicts(finding.tables["intrinsic_prompt"], where)
    return verdicts


DIMENSION = Experiment(
    name="intrinsic_dimension_of_tasks",
    question="what do k coordinates of an autoencoder of trained φ recover, and as many of their PCA?",
    config=Dimension,
    measure=measure_dimension,
    figures=("intrinsic_prompt",),
    view="optimisation",
)

_DEMO = IntrinsicPrompt(
    model="minilm", tasks=TASKS, method=PROMPT, lr=3e-2, steps=100, n_train=800, n_validation=60, n_test=150,
    max_length=24, unseen=("drug-reviews", "same-topic"), whole_steps=120, few_steps=40,
    scored=("drug-reviews", "same-topic", "bbc-news", "sentence-length"),
)  # fmt: skip
_TINY = replace(
    _DEMO, model="tiny-bert", tasks=("rotten-tomatoes", "bbc-news", "drug-reviews", "same-topic", "next-sentence"),
    method={"method": "prompt", "tokens": 2}, steps=2, n_train=32, n_validation=8, n_test=16, max_length=8,
    batch_size=4, unseen=("drug-reviews",), scored=("drug-reviews", "bbc-news"), hidden=8, whole_steps=4, warm_up=20,
    few_steps=1, lrs=(0.1,), ks=(2, 50),
)  # fmt: skip

EXPERIMENT = Experiment(
    name="intrinsic_prompt",
    question="does an autoencoder of many tasks' trained φ find better coordinates than plain PCA of the same φ?",
    source="Qin et al. 2021: 5 dimensions recover 87 % on seen and 65 % on unseen tasks; 2210.13311 (joint).",
    varied="the decoder (PCA, linear, one hidden layer), the dimension of z, seen and unseen tasks, the method.",
    tuned="the step size of z, on validation data, for every decoder alike.",
    fixed="PLM, steps, batch size; all runs share φ₀; a head of the task's own is trained beside z.",
    expected="no decoder far above PCA with few tasks; unseen tasks below seen ones.",
    cost="demo: half an hour on one quiet core (MiniLM). smoke: seconds.",
    view="optimisation",
    config=IntrinsicPrompt,
    scales={
        "smoke": replace(_TINY, joint_with={"method": "lora", "rank": 1}),
        "demo": (_DEMO, replace(_DEMO, joint_with=LORA)),
        "paper": replace(_DEMO, steps=1000, n_train=4000, max_length=128, whole_steps=5000, few_steps=500, hidden=768),
    },
    measure=measure,
    figures=("intrinsic_prompt",),
    claims=claims,
)
