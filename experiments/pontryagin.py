"""Costates, Hamiltonian and the residual of the maximum principle along depth and along training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lab.control import (
    ControlProblem,
    adjoint,
    control_summary,
    costates,
    delta_as_control,
    hamiltonian,
    hamiltonian_slope,
    pmp_residual,
)
from lab.control.problem import cost_to_go
from lab.models import hidden_states, read_by_head
from lab.statistics import Interval, Verdict
from lab.study import Config, Experiment, Finding, Lab, Result, Scale, counts, setting
from lab.study.fixed_batch import FixedBatch, fixed_batch
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
RANK_TOKENS, LARGEST = 4, 8000
"""The start of one sentence on which B_t is taken apart, and how many rows or columns it may have. MiniLM's have 1,536
rows: few enough for the rank of a block's B_t, unless it has a column for every weight (12 minutes and more)."""


@dataclass(frozen=True, kw_only=True)
class Pontryagin(Config):
    """One method along training ("trajectory"), or as control, with the identities ("table")."""

    measured: str = setting("what is measured", choices=("trajectory", "table"))
    label: str = setting("of the method")
    method: dict[str, Any] = setting("hyperparameters of the delta method")
    model: str = setting("name for load_plm", role="model")
    task: str = setting("name or path for load_task", "bbc-news", role="task", keyed=True)
    seed: int = setting("of head, method, batch and order of examples", 0, low=0, keyed=True)
    tokens: int = setting("kept of each sentence", unit="token", low=1)
    sentences: int = setting("on which everything is measured", unit="example", low=1)
    n_train: int | None = setting("training examples to use", None, unit="example", low=1, keyed=True)
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
class Plan(Config):
    """One measurement per trained method, and one per method for the identities and the table delta-as-control."""

    model: str = setting("name for load_plm", role="model")
    task: str = setting("name or path for load_task", "bbc-news", role="task")
    seed: int = setting("of head, method, batch and order of examples", 0, low=0)
    n_train: int | None = setting("training examples to use", None, unit="example", low=1)
    tokens: int = setting("kept of each sentence", unit="token", low=1)
    sentences: int = setting("on which everything is measured", unit="example", low=1)
    table_sentences: int = setting("on which the identities are checked", unit="example", low=1)
    steps: int = setting("AdamW steps", unit="step", low=1)
    keep_every: int = setting("measure after every so many steps", unit="step", low=1)
    batch_size: int = setting("examples per step", unit="example", low=1)
    target: bool = setting("train all weights too, for the phase portrait's target", True)
    trained: tuple[str, ...] = setting(
        "labels of the methods that are trained", tuple(STEP_SIZES), choices=tuple(STEP_SIZES)
    )
    tabulated: tuple[str, ...] = setting("labels of the methods of the table", tuple(METHODS), choices=tuple(METHODS))

    def configs(self) -> tuple[Pontryagin, ...]:
        shared = {name: getattr(self, name) for name in ("model", "task", "seed", "n_train")}
        training = ("tokens", "sentences", "steps", "keep_every", "batch_size", "target")
        along = [
            Pontryagin(
                measured="trajectory", label=label, lr=STEP_SIZES[label], method=METHODS[label], **shared,
                **{name: getattr(self, name) for name in training},
            )
            for label in self.trained
        ]  # fmt: skip
        table = [
            Pontryagin(
                measured="table", label=label, method=METHODS[label], sentences=self.table_sentences,
                tokens=min(self.tokens, TABLE_TOKENS), rank_tokens=RANK_TOKENS, largest=LARGEST, **shared,
            )
            for label in self.tabulated
        ]  # fmt: skip
        return (*along, *table)


def measure(c: Pontryagin, lab: Lab) -> Result:
    """One method along training, or as control, with the identities."""
    return _along_training(c) if c.measured == "trajectory" else _as_control(c)


# along training


def _along_training(c: Pontryagin) -> Result:
    setting = _setting(c)
    problem = setting.problem
    result = fit(
        setting.delta, setting.encoded, steps=c.steps, lr=c.lr, batch_size=c.batch_size, seed=c.seed,
        keep_every=c.keep_every, evaluation_size=200,
    )  # fmt: skip
    assert result.trajectory is not None
    kept = [*range(0, c.steps, c.keep_every), c.steps]
    along = pd.concat(
        [_at_step(problem, step, phi) for step, phi in zip(kept, result.trajectory, strict=True)], ignore_index=True
    )
    target = _target(**{name: getattr(c, name) for name in _SHARED}) if c.target else None
    metrics = {
        "metric": result.metric,
        "score": result.score,
        "loss_at_start": float(along.loss.iloc[0]),
        "loss": float(along.loss.iloc[-1]),
        "residual_at_start": _total(along, 0),
        "residual": _total(along, c.steps),
        "train_seconds": result.seconds,
        **counts(setting.delta),
    }
    portrait = _phase_portrait(setting, result.phi, target)
    return Result(metrics, {"pontryagin": along, "phase_portrait": portrait.assign(label=c.label)})


_SHARED = ("model", "task", "seed", "sentences", "tokens", "n_train", "steps", "batch_size")


def _setting(c: Pontryagin, **changed: Any) -> FixedBatch:
    names = ("model", "task", "method", "seed", "sentences", "tokens", "n_train")
    return fixed_batch(**{name: getattr(c, name) for name in names} | changed)


def _at_step(problem: ControlProblem, step: int, phi: Tensor) -> pd.DataFrame:
    """One row per stage: the costate of the state that leaves it, H_t, and the residual of its controls."""
    at = adjoint(problem, problem.split(phi))
    residual = pmp_residual(problem, at.trajectory.controls, known=at)
    return pd.DataFrame(
        {
            "step": step,
            "stage": problem.names,
            "t": range(problem.T),
            "controls": problem.sizes,
            "costate": [float(torch.linalg.vector_norm(p)) for p in at.costates[1:]],
            "hamiltonian": hamiltonian(problem, at.trajectory, at.costates).tolist(),
            "residual": residual.absolute.tolist(),
            "residual_to_cost": residual.to_cost.tolist(),
            "residual_relative": residual.relative.tolist(),
            "loss": float(at.trajectory.cost),
        }
    )


def _total(along: pd.DataFrame, step: int) -> float:
    return float(np.sqrt(along.residual[along.step == step].pow(2).sum()))


@lru_cache(maxsize=1)
def _target(**c: Any) -> tuple[Tensor, ...]:
    """Hidden states of full fine-tuning after the same number of steps: where the unconstrained control goes."""
    shared = {name: c[name] for name in _SHARED if name not in ("steps", "batch_size")}
    setting = fixed_batch(**shared, method=METHODS["full fine-tuning"])
    settings = {name: c[name] for name in ("steps", "batch_size", "seed")}
    result = fit(setting.delta, setting.encoded, lr=STEP_SIZES["full fine-tuning"], evaluation_size=1, **settings)
    return hidden_states(setting.delta.plm, setting.delta.overrides(result.phi), setting.batch)


def _phase_portrait(setting: FixedBatch, phi: Tensor, target: tuple[Tensor, ...] | None) -> pd.DataFrame:
    """States at the position the head reads, projected on the two main axes of each layer's own states."""
    plm, delta, batch = setting.plm, setting.delta, setting.batch
    kinds = {
        "base": hidden_states(plm, {}, batch),
        "controlled": hidden_states(delta.plm, delta.overrides(phi), batch),
    } | ({} if target is None else {"target": target})
    read = {kind: [read_by_head(plm, h, batch) for h in states[1:]] for kind, states in kinds.items()}
    classes = [setting.encoded.task.labels[int(label)] for label in batch["labels"]]
    tables = []
    for t in range(plm.n_blocks):
        X = torch.cat([states[t] for states in read.values()]).double()
        X = X - X.mean(0)
        _, sigma, axes = torch.linalg.svd(X, full_matrices=False)
        sign = torch.sign(axes.gather(1, axes.abs().argmax(1, keepdim=True)))  # an axis has no sign of its own
        xy = X @ (axes * sign)[:2].T
        explained = float(sigma[:2].square().sum() / sigma.square().sum())
        columns = {"x": xy[:, 0].tolist(), "y": xy[:, 1].tolist(), "class": classes * len(read)}
        columns |= {"kind": [kind for kind in read for _ in classes], "example": [*range(len(classes))] * len(read)}
        tables.append(pd.DataFrame(columns).assign(block=t, explained=explained))
    return pd.concat(tables, ignore_index=True)


# the table, and the identities in float64


def _as_control(c: Pontryagin) -> Result:
    setting = _setting(c, precision="float64")
    short = _setting(c, precision="float64", sentences=1, tokens=c.rank_tokens or c.tokens)
    rows = delta_as_control(
        short.delta,
        short.plm,
        short.batch,
        short.encoded.task.loss,
        n_samples=4,
        largest=c.largest or LARGEST,
        seed=c.seed,
    )
    kind = control_summary(rows)
    table = pd.DataFrame(rows).assign(
        label=c.label, t=range(len(rows)), kind=kind["control"], layers_reached=kind["layers_reached"]
    )
    columns = ["norm", "rank", "participation", "gramian_share", "block"]
    table[columns] = table[columns].astype(float)
    tables = {"delta_as_control": table}
    metrics: dict[str, Any] = {"control": kind["control"], "layers_reached": kind["layers_reached"]}
    if rows[0]["splits"]:
        errors = identities(setting, seed=c.seed)
        tables["identities"] = errors.assign(label=c.label)
        worst = errors.groupby("identity").error.max()
        metrics |= {f"largest_error_{name}": float(value) for name, value in worst.items()}
    return Result(metrics | counts(setting.delta), tables)


def identities(setting: FixedBatch, *, seed: int = 0) -> pd.DataFrame:
    """Relative errors of the two identities along the delta's trajectory at a φ where every coordinate is off φ₀.

    * gradient: ∇_u H_t by each stage alone, against −∇_φ J of the PLM's own forward pass;
    * costate: p_t by the recursion, against one backward pass through the whole chain (both: of the largest entry);
    * difference: ⟨p_t, v⟩ against −dJ/dε by a five-point difference of J along v = p_t/‖p_t‖ in h_t. Its step is 1e-4
        of the state's size where v moves it, √Σv²h²; ‖h‖ would be that of a few outliers in a decoder.
    """
    delta, problem = setting.delta, setting.problem
    noise = torch.randn(delta.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    phi = delta.phi0 + 0.02 * noise
    at = adjoint(problem, problem.split(phi))
    us, hs = at.trajectory.controls, at.trajectory.states
    p = costates(problem, at.trajectory, recursion=True)
    x = phi.clone().requires_grad_()
    gradient = problem.split(-torch.autograd.grad(setting.loss(x), x)[0])
    rows = []
    for t, name in enumerate(problem.names):
        if problem.sizes[t]:
            slope = hamiltonian_slope(problem, t, hs[t], p[t + 1], us[t])
            rows.append((name, t, "gradient", _relative(slope, gradient[t])))
        if hs[t].numel():
            rows.append((name, t, "costate", _relative(p[t], at.costates[t])))
            rows.append((name, t, "difference", _difference_error(problem, t, hs[t], us[t:], p[t])))
    return pd.DataFrame(rows, columns=["stage", "t", "identity", "error"])


def _difference_error(problem: ControlProblem, t: int, h: Tensor, us: Sequence[Tensor], p: Tensor) -> float:
    length = torch.linalg.vector_norm(p)
    if not length > 0:
        return 0.0
    v = p / length
    step = 1e-4 * float(torch.linalg.vector_norm(v * h))
    with torch.no_grad():
        J = [cost_to_go(problem, t, h + k * step * v, us) for k in (-2, -1, 1, 2)]
    slope = (J[0] - 8 * J[1] + 8 * J[2] - J[3]) / (12 * step)
    return float((length + slope).abs() / length)


def _relative(got: Tensor, expected: Tensor) -> float:
    scale = expected.abs().max()
    return float((got - expected).abs().max() / scale) if scale > 0 else float(got.abs().max())


CLAIMS = {
    "gradient": ("the gradient of H_t in u_t is minus the gradient of the loss", 1e-10),
    "costate": ("the costate recursion is the backward pass", 1e-10),
    "difference": ("p_t is minus the derivative of the loss in h_t", 1e-6),
}
"""Identity -> what it says, and the relative error in float64 up to which it holds."""


def claims(found: Sequence[Finding[Pontryagin]]) -> list[Verdict]:
    """Is back-propagation the search for the optimal controller: do the identities hold on the real PLM?

    Each is an upper bound over every layer, method and PLM measured: the interval is the range of the worst errors.
    """
    checked = [finding for finding in found if "identities" in finding.tables]
    models, labels = (
        ", ".join(dict.fromkeys(str(getattr(finding.config, name)) for finding in checked))
        for name in ("model", "label")
    )
    verdicts = []
    for identity, (says, threshold) in CLAIMS.items():
        tables = [finding.tables["identities"] for finding in checked]
        errors = [float(table.error[table.identity == identity].max()) for table in tables]
        errors = [error for error in errors if error == error]  # a method without controls in blocks has no gradient
        if errors:
            verdicts.append(
                Verdict(
                    claim=f"back-propagation is the search for the optimal controller: {says}",
                    source="Ding et al. 2022, section on optimal control; Li & Hao 2018",
                    quantity="largest relative error in float64",
                    measured=Interval(max(errors), 0.0, max(errors), len(errors)), threshold=threshold, side="below",
                    setting=f"{models}; {labels}", figure="costates", number=11,
                )
            )  # fmt: skip
    return verdicts


FEW = ("LoRA", "prefix", "prompt", "IA3")
"""Methods tabulated at smoke scale and on large PLMs."""
_DEMO = Plan(
    model="minilm", steps=40, keep_every=8, batch_size=16, sentences=16, tokens=24, table_sentences=4,
)  # fmt: skip

EXPERIMENT = Experiment(
    name="pontryagin",
    question="how do costates, Hamiltonian and the residual of the maximum principle run along depth and training?",
    source="Li, Chen, Tai & E 2017; Li & Hao 2018 (discrete maximum principle); Ding et al. 2022 (delta tuning as "
    "control).",
    varied="the method; the step of training; the layer.",
    tuned="nothing here; step sizes are where the grids of `performance` start.",
    fixed="PLM, task, seed, steps, batch size; one batch on which everything is measured.",
    expected="p_t = -dJ/dh_t and the gradient of H_t in u equals -dJ/du to rounding in float64; costates grow "
    "towards the "
    "output; the residual falls with the loss; a prompt acts before the first block only, LoRA is bilinear feedback.",
    cost="demo: 15 minutes on one core (MiniLM, 14 methods, 6 of them trained). smoke: 5 s. `--model smollm2`: 4 "
    "methods, "
    "one trained, but 32 stages to take apart; not timed.",
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
