"""Solvers of the maximum principle beside the usual optimisers, on one delta and one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial

import pandas as pd
import torch
from torch import Tensor

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
from lab.study import Config, Experiment, Lab, Result, counts, setting
from lab.study.fixed_batch import FixedBatch, fixed_batch
from lab.training import evaluate

Solve = Callable[[ControlProblem, list[Tensor]], Solution]

STEP_SIZES: dict[str, tuple[float, ...]] = {
    "adamw": (3e-3, 1e-2, 3e-2),
    "sgd": (0.1, 0.3, 1.0),
    "sign": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
}
RHOS = (1e-4, 1e-3, 1e-2, 1e-1)
"""E-MSA's ρ to begin with. p_t is of the size 1/batch, so the toy's ρ = 1 would allow no step."""

LABELS = {
    "adamw": "AdamW",
    "sgd": "SGD, momentum 0.9",
    "sign": "sign ascent",
    "msa": "MSA, full maximisation",
    "emsa": "E-MSA, ρ adapted",
    "gauss_newton": "Gauss–Newton by CG",
    "best_layer": "L-MSA, best layer",
}


@dataclass(frozen=True, kw_only=True)
class Solving(Config):
    """One solver from the common start."""

    model: str = setting("name for load_plm", role="model")
    task: str = setting("name or path for load_task", "bbc-news", role="task", keyed=True)
    seed: int = setting("of head, method and batch", 0, low=0, keyed=True)
    solver: str = setting("which one", choices=tuple(LABELS))
    rank: int = setting("of the LoRA that is solved for", low=1)
    sentences: int = setting("of the batch", unit="example", low=1)
    tokens: int = setting("kept of each sentence", unit="token", low=1)
    iterations: int = setting("of the gradient methods, whose one pass each sets the budget of passes", low=1)
    dear_iterations: int = setting("of the solvers with an inner maximisation", low=1)
    inner_iterations: int = setting("of each maximisation", low=1)
    products: int = setting("with J's curvature per Gauss-Newton step", low=1)
    n_train: int | None = setting("training examples to use", None, unit="example", low=1, keyed=True)
    n_validation: int | None = setting("validation examples to score on", None, unit="example", low=1, keyed=True)
    step_sizes: tuple[float, ...] = setting("to try", (), keyed=True)
    rhos: tuple[float, ...] = setting("E-MSA's ρ to begin with, to try", ())


@dataclass(frozen=True, kw_only=True)
class Plan(Solving):
    """One measurement per solver."""

    solver: str = setting("unused: `solvers`", "")
    solvers: tuple[str, ...] = setting("which ones", tuple(LABELS), choices=tuple(LABELS))
    fixed = ("solver", "step_sizes", "rhos")

    def configs(self) -> tuple[Solving, ...]:
        own = ("solver", "step_sizes", "rhos")
        shared = {entry.name: getattr(self, entry.name) for entry in fields(Solving) if entry.name not in own}
        return tuple(
            Solving(
                **shared, solver=solver, step_sizes=STEP_SIZES.get(solver, ()), rhos=RHOS if solver == "emsa" else ()
            )
            for solver in self.solvers
        )


def measure(c: Solving, lab: Lab) -> Result:
    """Run one solver from the common start, its step size tuned where it has one."""
    setting = _setting(c)
    problem = setting.problem
    start = problem.split(setting.delta.phi0)
    runs = {value: solve(problem, start) for value, solve in _solvers(c).items()}
    best = min(runs, key=lambda value: _lowest(runs[value]))
    found = runs[best]
    phi = problem.join(found.controls)
    _, score = evaluate(setting.delta, setting.encoded, phi, "validation", size=c.n_validation)
    metrics = {
        "loss": found.cost,
        "lowest_loss": _lowest(found),
        "residual": found.residual,
        "status": found.status.name.lower(),
        "message": found.status.value,
        "iterations": found.iterations,
        "passes": _history(found)["passes"].iloc[-1],
        "train_seconds": found.history[-1]["seconds"],
        "rho" if c.solver == "emsa" else "step_size": best,
        "score": score,
        "metric": setting.encoded.task.metric.name,
        "back_propagation_difference": _difference_from_back_propagation(setting, problem)
        if c.solver == "sgd"
        else None,
        **counts(setting.delta),
    }
    tables = {"solver_convergence": _history(found).assign(label=_label(c.solver, best)), "tried": _tried(runs)}
    if c.solver == "best_layer":
        tables["layer_scores"] = _layer_scores(problem, {"at the start": start, "at its end": found.controls})
    return Result(metrics, tables)


def _setting(c: Solving) -> FixedBatch:
    shared = ("model", "task", "seed", "sentences", "tokens", "n_train", "n_validation")
    return fixed_batch(**{name: getattr(c, name) for name in shared}, method={"method": "lora", "rank": c.rank})


def _solvers(c: Solving) -> dict[float | None, Solve]:
    """The value tried (a step size; E-MSA's first ρ) -> solver; None where the solver has nothing to tune."""
    many, few = c.iterations, c.dear_iterations
    cheap = partial(msa, iterations=many, tolerance=0.0)
    alone: dict[str, Solve] = {
        "msa": partial(msa, update=full_maximization(c.inner_iterations), iterations=few, tolerance=0.0),
        "gauss_newton": partial(
            ilqr, direction=gauss_newton_cg(iterations=c.products), damping=DAMPING, iterations=few, tolerance=0.0
        ),
        "best_layer": partial(msa, update=best_layer_ascent(), iterations=few, tolerance=0.0),
    }  # fmt: skip
    if c.solver in alone:
        return {None: alone[c.solver]}
    if c.solver == "emsa":
        inner = c.inner_iterations
        extended = partial(extended_msa, growth=4.0, inner_iterations=inner, iterations=few, tolerance=0.0)
        return {rho: partial(extended, rho=rho) for rho in c.rhos}

    def stepped(step: float) -> Solve:
        # the optimisers keep state, so each run makes its own
        def solve(problem: ControlProblem, start: list[Tensor]) -> Solution:
            made = {
                "adamw": lambda: optimizer_ascent(lambda params: torch.optim.AdamW(params, lr=step, weight_decay=0.0)),
                "sgd": lambda: optimizer_ascent(lambda params: torch.optim.SGD(params, lr=step, momentum=0.9)),
                "sign": lambda: sign_ascent(step),
            }
            return cheap(problem, start, update=made[c.solver]())

        return solve

    return {step: stepped(step) for step in c.step_sizes}


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


_DEMO = Plan(
    model="minilm", rank=8, sentences=16, tokens=16, iterations=25, dear_iterations=4, inner_iterations=6, products=8,
    n_validation=200,
)  # fmt: skip

EXPERIMENT = Experiment(
    name="solvers",
    question="do solvers of the maximum principle lower the loss of a PLM's controls faster than AdamW and SGD?",
    source="Li, Chen, Tai & E 2017 (E-MSA); Li & Hao 2018 (signs, binary controls); Li & Todorov 2004 (iLQR).",
    varied="the solver.",
    tuned="step sizes of AdamW and SGD, the radius of sign ascent and E-MSA's first ρ over three to five values "
    "each, by the lowest loss, with the whole budget for each. Gauss-Newton's first damping was tuned by hand on "
    "MiniLM, that is on the setting reported; from there E-MSA and Gauss-Newton choose theirs themselves (undone "
    "steps, line search), and so does L-MSA.",
    fixed="PLM, delta (LoRA, r = 8, query and value, with the head), one batch, start, seed; what every solver "
    "may spend.",
    expected="per iteration E-MSA and Gauss-Newton are ahead; per pass, second and product through a block "
    "AdamW is (Li, Chen, Tai & E 2017 report faster initial decrease per iteration, at a higher cost of each).",
    cost="demo: about 3 minutes on two cores (MiniLM, 16 sentences of 16 tokens). smoke: 5 s. Gradient ascent on "
    "H is run beside back-propagation through the PLM's own forward pass, and their difference recorded.",
    view="control",
    config=Solving,
    scales={
        "smoke": replace(
            _DEMO, model="tiny-bert", rank=2, sentences=8, tokens=8, iterations=4, dear_iterations=2,
            inner_iterations=2, products=3, n_train=64, n_validation=32,
        ),
        "demo": _DEMO,
        "paper": replace(
            _DEMO, sentences=64, tokens=32, iterations=500, dear_iterations=50, inner_iterations=10, products=20,
            n_validation=None,
        ),
    },
    measure=measure,
    figures=("solver_convergence", "layer_scores"),
)  # fmt: skip
