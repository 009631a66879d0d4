"""Solvers of the control problem against back-propagation with AdamW and SGD, from the same start.

Question: do solvers of the maximum principle lower the loss of a PLM's controls faster than AdamW and SGD?
Source: Li, Chen, Tai & E 2017 (E-MSA); Li & Hao 2018 (signs, binary controls); Li & Todorov 2004 (iLQR).
Varied: the solver.
Tuned: step sizes of AdamW and SGD, the radius of sign ascent and E-MSA's first ρ over three to five values each, by the
    lowest loss, with the whole budget for each. Gauss-Newton's first damping was tuned by hand on MiniLM, that is on
    the setting reported; from there E-MSA and Gauss-Newton choose theirs themselves (undone steps, line search), and so
    does L-MSA.
Fixed: PLM, delta (LoRA, r = 8, query and value, with the head), one batch, start, seed; what every solver may spend.
Expected: per costate evaluation E-MSA and Gauss-Newton are ahead, products counted; per pass and per second AdamW is
    (Li, Chen, Tai & E 2017 report faster initial decrease per iteration, at a higher cost of each).
Cost: demo: about 3 minutes on two cores (MiniLM, 16 sentences of 16 tokens). smoke: 5 s.

Gradient ascent on H is run beside back-propagation through the PLM's own forward pass, and their difference recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from experiments.fixed_batch import FixedBatch, fixed_batch
from experiments.training_run import counts
from lab.control import (
    ControlProblem,
    Solution,
    adjoint,
    best_layer_ascent,
    extended_msa,
    full_maximization,
    gauss_newton_cg,
    gradient_ascent,
    ilqr,
    layer_scores,
    msa,
    optimizer_ascent,
    sign_ascent,
)
from lab.runs import Job, Record, Store
from lab.training import evaluate

NAME = "solvers"
FIGURES = ("solver_convergence", "layer_scores")

Solve = Callable[[ControlProblem, list[Tensor]], Solution]


@dataclass(frozen=True)
class Scale:
    """What a scale fixes; `iterations`: of the gradient methods, whose one pass each sets the budget of passes."""

    model: str
    task: str
    rank: int
    sentences: int
    tokens: int
    iterations: int
    dear_iterations: int
    inner_iterations: int
    products: int
    n_train: int | None
    n_validation: int | None
    step_sizes: dict[str, tuple[float, ...]]


STEP_SIZES: dict[str, tuple[float, ...]] = {
    "adamw": (3e-3, 1e-2, 3e-2),
    "sgd": (0.1, 0.3, 1.0),
    "sign": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
}
RHOS = (1e-4, 1e-3, 1e-2, 1e-1)
"""E-MSA's ρ to begin with. p_t is of the size 1/batch, so the toy's ρ = 1 would allow no step."""

SCALES = {
    "smoke": Scale("tiny-bert", "bbc-news", 2, 8, 8, 4, 2, 2, 3, 64, 32, STEP_SIZES),
    "demo": Scale("minilm", "bbc-news", 8, 16, 16, 25, 4, 6, 8, None, 200, STEP_SIZES),
    "paper": Scale("minilm", "bbc-news", 8, 64, 32, 500, 50, 10, 20, None, None, STEP_SIZES),
}

SOLVERS = ("adamw", "sgd", "sign", "msa", "emsa", "gauss_newton", "best_layer")
LABELS = {
    "adamw": "AdamW",
    "sgd": "SGD, momentum 0.9",
    "sign": "sign ascent",
    "msa": "MSA, full maximisation",
    "emsa": "E-MSA, ρ adapted",
    "gauss_newton": "Gauss–Newton by CG",
    "best_layer": "L-MSA, best layer",
}


def jobs(scale: str, *, model: str | None = None, task: str | None = None, seed: int = 0) -> list[Job]:
    """One job per solver.

    Args:
        scale: "smoke", "demo" or "paper".
        model: name for `load_plm`; default: the scale's.
        task: name for `load_task`; default: the scale's.
        seed: of head, method and batch.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {sorted(SCALES)}.")
    setting = asdict(SCALES[scale])
    setting |= {"model": model or setting["model"], "task": task or setting["task"], "seed": seed}
    grids = setting.pop("step_sizes")
    rhos = {"emsa": {"rhos": RHOS}}
    return [
        Job(NAME, setting | {"solver": solver, "step_sizes": grids.get(solver, ())} | rhos.get(solver, {}))
        for solver in SOLVERS
    ]


def measure(job: Job, store: Store) -> Record:
    """Run one solver from the common start, its step size tuned where it has one."""
    c = job.config
    setting = _setting(c)
    problem = setting.problem
    start = problem.split(setting.delta.phi0)
    runs = {value: solve(problem, start) for value, solve in _solvers(c).items()}
    best = min(runs, key=lambda value: _lowest(runs[value]))
    found = runs[best]
    phi = problem.join(found.controls)
    _, score = evaluate(setting.delta, setting.encoded, phi, "validation", size=c["n_validation"])
    metrics = {
        "loss": found.cost,
        "lowest_loss": _lowest(found),
        "residual": found.residual,
        "status": found.status.name.lower(),
        "message": found.status.value,
        "iterations": found.iterations,
        "passes": _history(found)["passes"].iloc[-1],
        "train_seconds": found.history[-1]["seconds"],
        "rho" if c["solver"] == "emsa" else "step_size": best,
        "score": score,
        "metric": setting.encoded.task.metric.name,
        "back_propagation_difference": _difference_from_back_propagation(setting, problem)
        if c["solver"] == "sgd"
        else None,
        **counts(setting.delta),
    }
    tables = {"solver_convergence": _history(found).assign(label=_label(c["solver"], best)), "tried": _tried(runs)}
    if c["solver"] == "best_layer":
        tables["layer_scores"] = _layer_scores(problem, {"at the start": start, "at its end": found.controls})
    return Record(job, metrics, tables)


def _setting(c: dict[str, Any]) -> FixedBatch:
    shared = ("model", "task", "seed", "sentences", "tokens", "n_train", "n_validation")
    return fixed_batch(**{name: c[name] for name in shared}, method={"method": "lora", "rank": c["rank"]})


def _solvers(c: dict[str, Any]) -> dict[float | None, Solve]:
    """The value tried (a step size; E-MSA's first ρ) -> solver; None where the solver has nothing to tune."""
    many, few = c["iterations"], c["dear_iterations"]
    cheap = partial(msa, iterations=many, tolerance=0.0)
    alone: dict[str, Solve] = {
        "msa": partial(msa, update=full_maximization(c["inner_iterations"]), iterations=few, tolerance=0.0),
        "gauss_newton": partial(
            ilqr, direction=gauss_newton_cg(iterations=c["products"]), damping=DAMPING, iterations=few, tolerance=0.0
        ),
        "best_layer": partial(msa, update=best_layer_ascent(), iterations=few, tolerance=0.0),
    }  # fmt: skip
    if c["solver"] in alone:
        return {None: alone[c["solver"]]}
    if c["solver"] == "emsa":
        inner = c["inner_iterations"]
        extended = partial(extended_msa, growth=4.0, inner_iterations=inner, iterations=few, tolerance=0.0)
        return {rho: partial(extended, rho=rho) for rho in c["rhos"]}

    def stepped(step: float) -> Solve:
        # the optimisers keep state, so each run makes its own
        def solve(problem: ControlProblem, start: list[Tensor]) -> Solution:
            made = {
                "adamw": lambda: optimizer_ascent(lambda params: torch.optim.AdamW(params, lr=step, weight_decay=0.0)),
                "sgd": lambda: optimizer_ascent(lambda params: torch.optim.SGD(params, lr=step, momentum=0.9)),
                "sign": lambda: sign_ascent(step),
            }
            return cheap(problem, start, update=made[c["solver"]]())

        return solve

    return {step: stepped(step) for step in c["step_sizes"]}


DAMPING = 1e-3
"""Levenberg's μ to begin with, tuned by hand on MiniLM: at φ₀ LoRA's A moves nothing, so JᵀCJ is singular."""


def _lowest(found: Solution) -> float:
    return min(row["cost"] for row in found.history)


def _history(found: Solution) -> pd.DataFrame:
    """The figure's table: what was spent, and the loss it bought.

    A product with J's curvature goes forward and back through the chain's derivatives: one pass and one backward sweep
    beside the stages it runs.
    """
    history = pd.DataFrame(found.history)
    table = pd.DataFrame(
        {
            "iteration": history.iteration,
            "loss": history.cost,
            "residual": history.residual,
            "passes": history.passes + history.products,
            "elapsed": history.seconds,
            "costates": history.adjoints + history.products,
        }
    )
    kept = ("block_products", "adjoints", "products", "rho", "damping", "alpha", "accepted")
    return table.join(history[[name for name in kept if name in history]])


def _tried(runs: dict[float | None, Solution]) -> pd.DataFrame:
    rows = [(value, _lowest(run), run.cost, run.status.name.lower()) for value, run in runs.items()]
    table = pd.DataFrame(rows, columns=["value", "lowest_loss", "loss", "status"])
    return table.astype({"value": float})


def _label(solver: str, value: float | None) -> str:
    if value is None:
        return LABELS[solver]
    return f"{LABELS[solver]}, {'first ρ' if solver == 'emsa' else 'step'} {value:g}"


def _difference_from_back_propagation(setting: FixedBatch, problem: ControlProblem, *, step: float = 0.1) -> float:
    """Largest relative difference of φ between three steps of gradient ascent on H and of SGD on the PLM's own loss."""
    solution = msa(problem, problem.split(setting.delta.phi0), update=gradient_ascent(step), iterations=3)
    phi = setting.delta.phi0.clone().requires_grad_()
    optimizer = torch.optim.SGD([phi], lr=step)
    for _ in range(3):
        (phi.grad,) = torch.autograd.grad(setting.loss(phi), phi)
        optimizer.step()
    return float((problem.join(solution.controls) - phi.detach()).abs().max() / phi.detach().abs().max())


def _layer_scores(problem: ControlProblem, places: dict[str, list[Tensor]]) -> pd.DataFrame:
    """The fall of J that each layer alone promises and gives, at several controls."""
    tables = []
    for place, controls in places.items():
        scores = layer_scores(problem, controls, known=adjoint(problem, controls))
        columns = {name: getattr(scores, name).tolist() for name in ("predicted", "measured", "steps", "curvature")}
        table = pd.DataFrame({"stage": problem.names, "t": range(problem.T), "controls": problem.sizes, **columns})
        tables.append(table[table.controls > 0].assign(place=place, label="LoRA"))
    return pd.concat(tables, ignore_index=True)


def summary(store: Store, records: list[Record]) -> str:
    """What each solver reached, and for how much."""
    lines = ["lowest loss [nats] after passes, seconds:"]
    for record in records:
        m: dict[str, Any] = dict(record.metrics)
        lines.append(
            f"  {_label(record.job.config['solver'], m.get('rho', m.get('step_size'))):30s} {m['lowest_loss']:9.4g}  "
            f"{m['passes']:7.1f} passes {m['train_seconds']:7.1f} s   {m['metric']} {m['score']:.3f}"
        )
        if m["back_propagation_difference"] is not None:
            lines.append(f"    gradient ascent on H against back-propagation: {m['back_propagation_difference']:.1e}")
    return "\n".join(lines)
