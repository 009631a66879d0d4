"""A manual template and the language-model head, against a new classification head: zero-shot, few-shot, more data.

MiniLM has no language-model head, so the packaged PLM for this is SmolLM2, an instruction-tuned decoder: there the
template ends before its mask and the label word is the next token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from experiments.combination import HEAD_STEP_SIZE, SEEDS, STEP_SIZES
from lab.deltas import Adapter, Combination
from lab.statistics import Evidence, Verdict, absolute, mean_interval
from lab.statistics.template import READINGS, gains
from lab.study import TRAINING_RUN, Budget, Experiment, Finding, Lab, Result, TrainingRun, scored_rows, setting
from lab.study.amounts import training_steps


class Amount(NamedTuple):
    """How much data: examples per class (None: all that the budget has), and the steps on them."""

    shots: int | None
    steps: int


@dataclass(frozen=True, kw_only=True)
class Templates(Budget):
    """Both readings of one task on every amount of data. `n_train`: what "more data" are."""

    few_shot_steps: int = training_steps("AdamW steps of few-shot")
    seeds: tuple[int, ...] = setting("a task folder's few-shot splits exist for 13, 21, 42, 87 and 100", low=0)
    shots: int = setting("examples per class of few-shot", 16, unit="example", low=1, keyed=True)
    bottleneck: int = setting("of the adapter", 64, low=1, keyed=True)
    precision: str = setting("of the matrix products", "float32", choices=("float32", "bfloat16"), keyed=True)
    step_size: float = setting("of the adapter", STEP_SIZES["adapter"], keyed=True)
    head_step_size: float = setting("of a new head", HEAD_STEP_SIZE, keyed=True)

    @property
    def amounts(self) -> dict[str, Amount]:
        """By name, growing."""
        return {
            "zero-shot": Amount(None, 0),
            f"{self.shots} per class": Amount(self.shots, self.few_shot_steps),
            self.amount: Amount(None, self.steps),
        }

    def run(self, amount: Amount, template: bool, seed: int) -> TrainingRun:
        """An adapter with a new head or none; of no steps, the PLM as it is. The form of a cell of `combination`."""
        seed = self.seeds[0] if template and not amount.steps else seed  # nothing is drawn: one run for all seeds
        method = Combination((Adapter(bottleneck=self.bottleneck),), (1.0,)) if amount.steps else Combination()
        return self.child(
            method=method.to_json(), seed=seed, steps=amount.steps, lr=self.step_size, head_lr=self.head_step_size,
            n_train=None if amount.shots else self.n_train, precision=self.precision, shots=amount.shots,
            template=template, train_evaluations="last", keep_phi=False,
        )  # fmt: skip

    @property
    def told(self) -> str:
        steps = f"{self.few_shot_steps} (few-shot) or {self.steps} steps of {self.batch_size}"
        seeds = ", ".join(map(str, self.seeds))
        return f"{self.model}; {self.task}; adapter; seeds {seeds}; {steps}; interval over seeds"


def measure(c: Templates, lab: Lab) -> Result:
    """Every reading on every amount of data, over the seeds."""
    amounts = c.amounts
    cells = [(amount, reading, seed) for amount in amounts for reading in READINGS for seed in c.seeds]
    children = [c.run(amounts[amount], reading == READINGS[0], seed) for amount, reading, seed in cells]
    places = [dict(zip(("amount", "reading", "seed"), cell, strict=True)) for cell in cells]
    runs = lab.run(TRAINING_RUN, children, "template")
    table = scored_rows(places, runs).assign(label=f"{c.model} · {c.task}")
    means = table.groupby(["amount", "reading"], sort=False).score.mean().reset_index()
    metrics = {f"{row['amount']}, {row['reading']}": float(row["score"]) for row in means.to_dict("records")}
    return Result({"metric": table["metric"].iloc[0], **metrics}, {"template": table})


AT_MOST = 0.01
"""A gain of one point is what "hardly matters" allows here."""
CLAIMS: tuple[tuple[str, Callable[..., Verdict], float], ...] = (
    ("A manual template lifts zero-shot performance.", Evidence.above, 0.0),
    ("A manual template helps few-shot.", Evidence.above, 0.0),
    ("With more data a manual template hardly matters, or hurts.", Evidence.below, AT_MOST),
)
"""One per amount of data."""


def claims(found: Sequence[Finding[Templates]]) -> list[Verdict]:
    """What the template adds to the score and to the generalisation gap, seed by seed, on each amount of data."""
    return [verdict for finding in found for verdict in _of(finding)]


def _of(finding: Finding[Templates]) -> list[Verdict]:
    table, metric = finding.tables["template"], finding.metrics["metric"]
    label, amounts = table.label.iloc[0], list(dict.fromkeys(table.amount))
    told, step = finding.config.told, finding.config.resolution
    evidence = Evidence("Ding et al. 2022, templates; Ding et al. 2023, Table 2", told, "template", "seeds", 7)
    scores, gaps = gains(table), gains(table.assign(score=table.train_score - table.score))
    better = [
        judged(
            evidence, threshold, mean_interval(scores[label, amount], resolution=step), claim,
            f"{amount}: score with template minus without, seed by seed [{metric}]",
        )
        for amount, (claim, judged, threshold) in zip(amounts, CLAIMS, strict=True)
    ]  # fmt: skip
    unchanged = [  # where something is trained
        evidence.below(
            AT_MOST, absolute(mean_interval(gaps[label, amount], resolution=step)),
            "A manual template does not change the generalisation gap (by less than a point).",
            f"{amount}: absolute gap with template minus gap without, seed by seed [{metric}]",
            source="Ding et al. 2022, generalisation gap", number=8,
        )
        for amount in amounts[1:]
    ]  # fmt: skip
    return [*better, *unchanged]


_PAPER = Templates(
    model="smollm2", task="rotten-tomatoes", steps=1000, few_shot_steps=200, batch_size=32, max_length=128,
    n_train=None, n_validation=None, seeds=SEEDS, splits=3,
)  # fmt: skip

EXPERIMENT = Experiment(
    name="template",
    question="how much does it help to phrase a task as the PLM's own pre-training task, and does that last as the "
    "data grow?",
    source="Ding et al. 2022 and 2023 (Table 2): on GLUE a template lifts zero-shot from 23.7 to 43.4 on average, "
    "helps few-shot, and hardly matters with full data.",
    varied="the reading (template with label words under the pre-trained language-model head; no template under a new "
    "classification head), the data (none, 16 per class, a few hundred), seeds (head, split, order of examples).",
    tuned="nothing here: the adapter has the step size of `performance`, the new head its own, the same at every "
    "amount.",
    fixed="the PLM, one adapter, steps, batch size, sequence length.",
    expected="far above chance at once with the template; the difference shrinks as data grow.",
    cost="demo: about 10 minutes on one quiet core (SmolLM2, five seeds). smoke: seconds.",
    view="methods",
    config=Templates,
    scales={
        "smoke": replace(
            _PAPER, model="tiny-llama", steps=2, few_shot_steps=1, batch_size=4, max_length=24, n_train=16,
            n_validation=12, seeds=(13, 21), shots=2, bottleneck=2, n_test=12,
        ),
        "demo": replace(
            _PAPER, task="bbc-news", steps=16, few_shot_steps=10, batch_size=8, max_length=32, n_train=240,
            n_validation=120, n_test=200, precision="bfloat16",
        ),
        "paper": _PAPER,
    },
    measure=measure,
    figures=("template",),
    claims=claims,
)  # fmt: skip
