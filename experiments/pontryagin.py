"""Costates, Hamiltonian and the residual of the maximum principle along depth and along training.

Question: how do costates, Hamiltonian and the residual of the maximum principle run along depth and training?
Source: Li, Chen, Tai & E 2017; Li & Hao 2018 (discrete maximum principle); Ding et al. 2022 (delta tuning as control).
Varied: the method; the step of training; the layer.
Tuned: nothing here; step sizes are where the grids of `performance` start.
Fixed: PLM, task, seed, steps, batch size; one batch on which everything is measured.
Expected: p_t = -dJ/dh_t and the gradient of H_t in u equals -dJ/du to rounding in float64; costates grow towards the
    output; the residual falls with the loss; a prompt acts before the first block only, LoRA is bilinear feedback.
Cost: demo: 15 minutes on one core (MiniLM, 14 methods, 6 of them trained). smoke: 5 s. `--model smollm2`: 4
    methods, one trained, but 32 stages to take apart; not timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.fixed_batch import FixedBatch, fixed_batch
from experiments.training_run import counts
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
from lab.runs import Job, Record, Store
from lab.statistics import Interval, Verdict
from lab.training import fit

NAME = "pontryagin"
FIGURES = ("costates", "pmp_residual", "phase_portrait", "delta_as_control")

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
SCALES: dict[str, dict[str, Any]] = {
    "smoke": {"model": "tiny-bert", "steps": 4, "keep_every": 2, "batch_size": 8, "sentences": 6, "tokens": 8,
              "n_train": 64, "table_sentences": 1, "trained": ["LoRA", "prompt"]},
    "demo": {"model": "minilm", "steps": 40, "keep_every": 8, "batch_size": 16, "sentences": 16, "tokens": 24,
             "n_train": None, "table_sentences": 4, "trained": list(STEP_SIZES)},
    "paper": {"model": "minilm", "steps": 1000, "keep_every": 50, "batch_size": 32, "sentences": 64, "tokens": 64,
              "n_train": None, "table_sentences": 8, "trained": list(STEP_SIZES)},
}  # fmt: skip
SMALLER = {"trained": ["LoRA"], "steps": 16, "keep_every": 4, "batch_size": 8, "sentences": 8, "tokens": 16}
"""What replaces the demo's settings on PLMs of more than a hundred million weights."""
TABLE_TOKENS = 12
"""Of a sentence on which the identities are checked."""
RANKED = {"rank_tokens": 4, "largest": 8000}
"""The start of one sentence on which B_t is taken apart, and how many rows or columns it may have. MiniLM's have 1,536
rows: few enough for the rank of a block's B_t, unless it has a column for every weight (12 minutes and more)."""
FEW = ("LoRA", "prefix", "prompt", "IA3")
"""Methods tabulated on those PLMs."""


def jobs(scale: str, *, model: str | None = None, task: str = "bbc-news", seed: int = 0) -> list[Job]:
    """One job per trained method, and one per method for the identities and the table delta-as-control.

    Args:
        scale: "smoke", "demo" or "paper".
        model: name for `load_plm`; default: the scale's. "smollm2" gets smaller settings.
        task: name for `load_task`.
        seed: of head, method, batch and order of examples.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {sorted(SCALES)}.")
    c = SCALES[scale] | {"model": model or SCALES[scale]["model"]}
    small = c["model"] == "smollm2" and scale == "demo"
    c |= SMALLER if small else {}
    shared = {name: c[name] for name in ("model", "tokens", "n_train")} | {"task": task, "seed": seed}
    trained = {name: c[name] for name in ("steps", "keep_every", "batch_size", "sentences")}
    trained |= {"measured": "trajectory", "target": not small}
    found = [
        Job(NAME, shared | trained | {"label": label, "lr": STEP_SIZES[label], "method": METHODS[label]})
        for label in c["trained"]
    ]
    labels = FEW if small or scale == "smoke" else tuple(METHODS)
    table = {"measured": "table", "sentences": c["table_sentences"], "tokens": min(c["tokens"], TABLE_TOKENS)} | RANKED
    return found + [Job(NAME, shared | table | {"label": label, "method": METHODS[label]}) for label in labels]


def measure(job: Job, store: Store) -> Record:
    """One method along training, or as control, with the identities."""
    return _along_training(job) if job.config["measured"] == "trajectory" else _as_control(job)


# along training


def _along_training(job: Job) -> Record:
    c = job.config
    setting = _setting(c, c["method"])
    problem = setting.problem
    result = fit(
        setting.delta, setting.encoded, steps=c["steps"], lr=c["lr"], batch_size=c["batch_size"], seed=c["seed"],
        keep_every=c["keep_every"], evaluation_size=200,
    )  # fmt: skip
    assert result.trajectory is not None
    kept = [*range(0, c["steps"], c["keep_every"]), c["steps"]]
    along = pd.concat(
        [_at_step(problem, step, phi) for step, phi in zip(kept, result.trajectory, strict=True)], ignore_index=True
    )
    target = _target(**{name: c[name] for name in _SHARED}) if c["target"] else None
    metrics = {
        "metric": result.metric,
        "score": result.score,
        "loss_at_start": float(along.loss.iloc[0]),
        "loss": float(along.loss.iloc[-1]),
        "residual_at_start": _total(along, 0),
        "residual": _total(along, c["steps"]),
        "train_seconds": result.seconds,
        **counts(setting.delta),
    }
    portrait = _phase_portrait(setting, result.phi, target)
    return Record(job, metrics, {"pontryagin": along, "phase_portrait": portrait.assign(label=c["label"])})


_SHARED = ("model", "task", "seed", "sentences", "tokens", "n_train", "steps", "batch_size")


def _setting(c: dict[str, Any], method: dict[str, Any], precision: str = "float32") -> FixedBatch:
    shared = {name: c[name] for name in ("model", "task", "seed", "sentences", "tokens", "n_train")}
    return fixed_batch(**shared, method=method, precision=precision)


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
    setting = _setting(c, METHODS["full fine-tuning"])
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


def _as_control(job: Job) -> Record:
    c = job.config
    setting = _setting(c, c["method"], "float64")
    short = _setting(c | {"sentences": 1, "tokens": c["rank_tokens"]}, c["method"], "float64")
    rows = delta_as_control(
        short.delta, short.plm, short.batch, short.encoded.task.loss, n_samples=4, largest=c["largest"], seed=c["seed"]
    )
    kind = control_summary(rows)
    table = pd.DataFrame(rows).assign(
        label=c["label"], t=range(len(rows)), kind=kind["control"], layers_reached=kind["layers_reached"]
    )
    columns = ["norm", "rank", "participation", "gramian_share", "block"]
    table[columns] = table[columns].astype(float)
    tables = {"delta_as_control": table}
    metrics: dict[str, Any] = {"control": kind["control"], "layers_reached": kind["layers_reached"]}
    if rows[0]["splits"]:
        errors = identities(setting, seed=c["seed"])
        tables["identities"] = errors.assign(label=c["label"])
        worst = errors.groupby("identity").error.max()
        metrics |= {f"largest_error_{name}": float(value) for name, value in worst.items()}
    return Record(job, metrics | counts(setting.delta), tables)


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


def summary(store: Store, records: list[Record]) -> str:
    """Losses and residuals along training; the worst errors of the identities."""
    lines = []
    for record in records:
        c, m = record.job.config, dict[str, Any](record.metrics)
        if c["measured"] == "trajectory":
            lines.append(
                f"  {c['label']:18s} loss {m['loss_at_start']:.3f} → {m['loss']:.3f}   "
                f"‖∇J‖ {m['residual_at_start']:.3g} → {m['residual']:.3g}   {m['metric']} {m['score']:.3f}"
            )
        else:
            lines.append(
                f"  {c['label']:18s} {m['control']}, in {100 * float(m['layers_reached']):.0f} % of the blocks"
            )
    for verdict in verdicts(records):
        lines.append(f"  {verdict.answer}: {verdict.claim}; {verdict.quantity} {verdict.measured.estimate:.1e}")
    return "\n".join(lines)


REPLICATES = ("model", "label", "method", *RANKED)
"""What differs between records that are judged together."""


def verdicts(records: list[Record]) -> list[Verdict]:
    """Is back-propagation the search for the optimal controller: do the identities hold on the real PLM?"""
    tables = [record for record in records if "identities" in record.tables]
    found = []
    for name, threshold in (("gradient", 1e-10), ("costate", 1e-10), ("difference", 1e-6)):
        errors = [float(t.error[t.identity == name].max()) for t in (r.tables["identities"] for r in tables)]
        errors = [error for error in errors if error == error]  # a method without controls in blocks has no gradient
        if errors:
            models, labels = (
                ", ".join(dict.fromkeys(str(r.job.config[key]) for r in tables)) for key in ("model", "label")
            )
            # an upper bound over every layer, method and PLM measured: the interval is the range of the worst errors
            found.append(
                Verdict(
                    claim="back-propagation is the search for the optimal controller: " + _CLAIMS[name],
                    source="Ding et al. 2022, section on optimal control; Li & Hao 2018",
                    quantity="largest relative error in float64",
                    measured=Interval(max(errors), 0.0, max(errors), len(errors)),
                    threshold=threshold, side="below", setting=f"{models}; {labels}",
                    figure="costates", number=11,
                )
            )  # fmt: skip
    return found


_CLAIMS = {
    "gradient": "the gradient of H_t in u_t is minus the gradient of the loss",
    "costate": "the costate recursion is the backward pass",
    "difference": "p_t is minus the derivative of the loss in h_t",
}
