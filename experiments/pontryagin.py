"""Costates, Hamiltonian and the residual of the maximum principle along depth and along training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pandas as pd
from torch import Tensor

from lab.control import control_summary, delta_as_control
from lab.control.along_training import at_step, phase_portrait, total_residual
from lab.control.identities import identities
from lab.models import hidden_states
from lab.statistics import Evidence, Verdict, worst_case
from lab.study import Config, Experiment, Finding, Lab, Result, Scale, counts, setting
from lab.study.amounts import scored_examples, training_steps
from lab.study.fixed_batch import fixed_batch, fixed_batch_of
from lab.tasks import Task
from lab.training import fit

STEP_SIZES = {
    "full fine-tuning": 1e-4,
    "LoRA": 3e-3,
    "adapter": 1e-3,
    "prefix": 1e-2,
    "prompt": 3e-2,
    "BitFit": 3e-3,
}
"""The methods that are trained."""
METHODS: dict[str, dict[str, Any]] = {
    "full fine-tuning": {"method": "full"},
    "LoRA": {"method": "lora", "rank": 8},
    "adapter": {"method": "adapter", "bottleneck": 64},
    "prefix": {"method": "prefix", "tokens": 5},
    "prompt": {"method": "prompt", "tokens": 20},
    "BitFit": {"method": "bitfit"},
    "IA3": {"method": "ia3"},
    "mask": {"method": "mask"},
    "diff pruning": {"method": "diff-pruning"},
    "last layer": {"method": "last-layer"},
    "random modules": {"method": "selective-module"},
    "linear probe": {"method": "linear-probe"},
    "DID": {"method": "did", "dimension": 1000},
    "SAID": {"method": "said", "dimension": 1000},
}
TABLE_TOKENS = 12
"""Of a sentence on which the identities are checked."""
SCORED = 200
"""Validation examples that a trained method is scored on, where no other number is given."""
RANK_TOKENS, LARGEST = 4, 8000
"""The start of one sentence on which B_t is taken apart, and how many rows or columns it may have. MiniLM's have 1,536
rows: few enough for the rank of a block's B_t, unless it has a column for every weight (12 minutes and more)."""


@dataclass(frozen=True, kw_only=True)
class Measuring(Config):
    """What all measurements of a PLM have alike."""

    model: str = setting("name for load_plm", role="model")
    task: str = setting("name or path for load_task", "bbc-news", role="task", keyed=True)
    seed: int = setting("of head, method, batch and order of examples", 0, low=0, keyed=True)
    tokens: int = setting("kept of each sentence", unit="token", low=1, also="max_length")
    sentences: int = setting("on which everything is measured", unit="example", low=1)
    n_train: int | None = setting("most training examples to use; none: all", None, unit="example", low=1, keyed=True)
    n_validation: int | None = scored_examples("most validation examples to score on; none: 200", None)


@dataclass(frozen=True, kw_only=True)
class Pontryagin(Measuring):
    """One method along training ("trajectory"), or as control, with the identities ("table")."""

    measured: str = setting("what is measured", choices=("trajectory", "table"))
    label: str = setting("of the method")
    method: dict[str, Any] = setting("hyperparameters of the delta method")
    # along training
    lr: float | None = setting("step size", None)
    steps: int = setting("AdamW steps", 0, unit="step", low=0)
    keep_every: int = setting("measure after every so many steps", 0, unit="step", low=0)
    batch_size: int = setting("examples per step", 0, unit="example", low=0)
    target: bool | None = setting("train all weights too, for the phase portrait's target", None)
    # the table
    rank_tokens: int | None = setting("of one sentence on which B_t is taken apart", None, unit="token", low=1)
    largest: int | None = setting("rows or columns that a B_t taken apart may have", None, low=1)


@dataclass(frozen=True, kw_only=True)
class Plan(Measuring):
    """One measurement per trained method, and one per method for the identities and the table delta-as-control."""

    table_sentences: int = setting("on which the identities are checked", unit="example", low=1)
    steps: int = training_steps()
    keep_every: int = setting("measure after every so many steps", unit="step", low=1)
    batch_size: int = setting("examples per step", unit="example", low=1)
    target: bool = setting("train all weights too, for the phase portrait's target", True)
    trained: tuple[str, ...] = setting(
        "labels of the methods that are trained", tuple(STEP_SIZES), choices=tuple(STEP_SIZES)
    )
    tabulated: tuple[str, ...] = setting("labels of the methods of the table", tuple(METHODS), choices=tuple(METHODS))

    def configs(self) -> tuple[Pontryagin, ...]:
        along = [
            self.to(Pontryagin, measured="trajectory", label=label, lr=STEP_SIZES[label], method=METHODS[label])
            for label in self.trained
        ]
        table: dict[str, Any] = self.shared(Measuring) | {
            "sentences": self.table_sentences, "tokens": min(self.tokens, TABLE_TOKENS), "rank_tokens": RANK_TOKENS,
            "largest": LARGEST,
        }  # fmt: skip
        return (*along, *(Pontryagin(measured="table", label=x, method=METHODS[x], **table) for x in self.tabulated))


def measure(c: Pontryagin, lab: Lab) -> Result:
    """One method along training, or as control, with the identities."""
    return _along_training(c) if c.measured == "trajectory" else _as_control(c)


# along training


def _along_training(c: Pontryagin) -> Result:
    setting = fixed_batch_of(c)
    problem = setting.problem
    result = fit(
        setting.delta, setting.encoded, steps=c.steps, lr=c.lr, batch_size=c.batch_size, seed=c.seed,
        keep_every=c.keep_every, evaluation_size=c.n_validation or SCORED,
    )  # fmt: skip
    assert result.trajectory is not None
    kept = [*range(0, c.steps, c.keep_every), c.steps]
    along = pd.concat(
        [at_step(problem, step, phi) for step, phi in zip(kept, result.trajectory, strict=True)], ignore_index=True
    )
    delta, batch = setting.delta, setting.batch
    kinds = {
        "base": hidden_states(setting.plm, {}, batch),
        "controlled": hidden_states(delta.plm, delta.overrides(result.phi), batch),
    } | ({"target": _target(**{name: getattr(c, name) for name in _SHARED})} if c.target else {})
    classes = _groups(setting.task, batch["labels"])
    metrics = {
        "metric": result.metric, "score": result.score, "loss_at_start": float(along.loss.iloc[0]),
        "loss": float(along.loss.iloc[-1]), "residual_at_start": total_residual(along, 0),
        "residual": total_residual(along, c.steps), "train_seconds": result.seconds, **counts(delta),
    }  # fmt: skip
    portrait = phase_portrait(setting.plm, kinds, batch, classes)
    return Result(metrics, {"pontryagin": along, "phase_portrait": portrait.assign(label=c.label)})


def _groups(task: Task, labels: Tensor) -> list[str]:
    """Class names; of numbers to predict, whether they lie below the middle of their range."""
    if task.kind == "classification":
        return [task.labels[int(label)] for label in labels]
    middle = (min(task.train.labels) + max(task.train.labels)) / 2
    return [f"below {middle:g}" if label < middle else f"from {middle:g}" for label in labels]


_SHARED = ("model", "task", "seed", "sentences", "tokens", "n_train", "steps", "batch_size")


@lru_cache(maxsize=1)
def _target(*, steps: int, batch_size: int, **shared: Any) -> tuple[Tensor, ...]:
    """Hidden states of full fine-tuning after the same number of steps: where the unconstrained control goes."""
    setting = fixed_batch(method=METHODS["full fine-tuning"], **shared)
    result = fit(
        setting.delta, setting.encoded, steps=steps, lr=STEP_SIZES["full fine-tuning"], batch_size=batch_size,
        seed=shared["seed"], evaluation_size=1,
    )  # fmt: skip
    return hidden_states(setting.delta.plm, setting.delta.overrides(result.phi), setting.batch)


# the table, and the identities in float64


def _as_control(c: Pontryagin) -> Result:
    setting = fixed_batch_of(c, precision="float64")
    more = 0 if setting.task.train.pairs is None else 2  # a pair has a special token and a sentence more
    short = fixed_batch_of(c, precision="float64", sentences=1, tokens=(c.rank_tokens or c.tokens) + more)
    rows = delta_as_control(
        short.delta, short.plm, short.batch, short.task.loss, n_samples=4, largest=c.largest or LARGEST,
        seed=c.seed,
    )  # fmt: skip
    kind = control_summary(rows)
    metrics: dict[str, Any] = {"control": kind["control"], "layers_reached": kind["layers_reached"]}
    table = pd.DataFrame(rows).assign(
        label=c.label, t=range(len(rows)), kind=kind["control"], layers_reached=kind["layers_reached"]
    )
    columns = ["norm", "rank", "participation", "gramian_share", "block"]
    table[columns] = table[columns].astype(float)
    tables = {"delta_as_control": table}
    if rows[0]["splits"]:
        errors = identities(setting.problem, setting.loss, setting.delta.phi0, seed=c.seed)
        tables["identities"] = errors.assign(label=c.label)
        worst = errors.groupby("identity").error.max()
        metrics |= {f"largest_error_{name}": float(value) for name, value in worst.items()}
    return Result(metrics | counts(setting.delta), tables)


CLAIMS = {
    "gradient": ("the gradient of H_t in u_t is minus the gradient of the loss", 1e-10),
    "costate": ("the costate recursion is the backward pass", 1e-10),
    "difference": ("p_t is minus the derivative of the loss in h_t", 1e-6),
}
"""Identity -> what it says, and the relative error in float64 up to which it holds."""


def claims(found: Sequence[Finding[Pontryagin]]) -> list[Verdict]:
    """Is back-propagation the search for the optimal controller: do the identities hold on the real PLM?

    Each is an upper bound over every layer, method and PLM measured: the largest error decides, without chance.
    """
    checked = [finding for finding in found if "identities" in finding.tables]
    models, labels = (
        ", ".join(dict.fromkeys(str(getattr(finding.config, name)) for finding in checked))
        for name in ("model", "label")
    )
    source = "Ding et al. 2022, section on optimal control; Li & Hao 2018"
    evidence = Evidence(source, f"{models}; {labels}", "costates", "pairs of PLM and method", 13, exact=True)
    verdicts = []
    for identity, (says, threshold) in CLAIMS.items():
        tables = [finding.tables["identities"] for finding in checked]
        errors = [float(table.error[table.identity == identity].max()) for table in tables]
        errors = [error for error in errors if error == error]  # a method without controls in blocks has no gradient
        if errors:
            claim = f"back-propagation is the search for the optimal controller: {says}"
            quantity = "largest relative error in float64 [1]"
            verdicts.append(evidence.below(threshold, worst_case(errors), claim, quantity))
    return verdicts


FEW = ("LoRA", "prefix", "prompt", "IA3")
"""Methods tabulated at smoke scale and on large PLMs."""
_DEMO = Plan(
    model="minilm", steps=40, keep_every=8, batch_size=16, sentences=16, tokens=24, table_sentences=4,
)  # fmt: skip

EXPERIMENT = Experiment(
    name="pontryagin",
    question="how do costates, Hamiltonian and the residual of the maximum principle develop along depth and training?",
    source="Li, Chen, Tai & E 2017; Li & Hao 2018 (discrete maximum principle); Ding et al. 2022 (delta tuning as "
    "control).",
    varied="the method; the step of training; the layer.",
    tuned="nothing here; step sizes are where the grids of `performance` start.",
    fixed="PLM, task, seed, steps, batch size; one batch on which everything is measured.",
    expected="p_t = -dJ/dh_t and the gradient of H_t in u equals -dJ/du to rounding in float64; costates grow towards "
    "the output; the residual falls with the loss; a prompt acts before the first block only, LoRA is bilinear "
    "feedback.",
    cost="demo: 15 minutes on one core (MiniLM, 14 methods, 6 of them trained). smoke: 5 s. `--model smollm2`: 4 "
    "methods, one trained, but 32 stages to take apart; not timed.",
    view="control",
    config=Pontryagin,
    scales={
        "smoke": replace(
            _DEMO, model="tiny-bert", steps=4, keep_every=2, batch_size=8, sentences=6, tokens=8, n_train=64,
            table_sentences=1, trained=("LoRA", "prompt"), tabulated=FEW,
        ),
        "demo": Scale(
            (_DEMO,),
            asked=(
                replace(
                    _DEMO, model="smollm2", trained=("LoRA",), tabulated=FEW, steps=16, keep_every=4, batch_size=8,
                    sentences=8, tokens=16, target=False,
                ),
            ),
        ),
        "paper": replace(
            _DEMO, steps=1000, keep_every=50, batch_size=32, sentences=64, tokens=64, table_sentences=8
        ),
    },
    measure=measure,
    figures=("costates", "pmp_residual", "phase_portrait", "delta_as_control"),
    claims=claims,
    replicates=("model", "label", "method", "rank_tokens", "largest"),
)  # fmt: skip
