"""Solvers of the maximum principle beside the usual optimisers, on one delta and one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lab.control.solver_tables import (
    difference_from_back_propagation,
    layer_score_table,
    lowest_cost,
    spent_and_bought,
    tried_values,
)
from lab.control.tuned_solvers import LABELS, solver_label, solvers_by_value
from lab.study import Config, Experiment, Lab, Result, counts, setting
from lab.study.amounts import scored_examples
from lab.study.fixed_batch import fixed_batch_of
from lab.training import evaluate

STEP_SIZES: dict[str, tuple[float, ...]] = {
    "adamw": (3e-3, 1e-2, 3e-2),
    "sgd": (0.1, 0.3, 1.0),
    "sign": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
}
RHOS = (1e-4, 1e-3, 1e-2, 1e-1)
"""E-MSA's ρ to begin with. p_t is of the size 1/batch, so the toy's ρ = 1 would allow no step."""


@dataclass(frozen=True, kw_only=True)
class Solving(Config):
    """One solver from the common start."""

    model: str = setting("name for load_plm", role="model")
    task: str = setting("name or path for load_task", "bbc-news", role="task", keyed=True)
    seed: int = setting("of head, method and batch", 0, low=0, keyed=True)
    solver: str = setting("which one", choices=tuple(LABELS))
    rank: int = setting("of the LoRA that is solved for", low=1)
    sentences: int = setting("of the batch", unit="example", low=1, also="batch_size")
    tokens: int = setting("kept of each sentence", unit="token", low=1, also="max_length")
    iterations: int = setting(
        "of the gradient methods, whose one pass each sets the budget of passes", low=1, also="steps"
    )
    dear_iterations: int = setting("of the solvers with an inner maximisation", low=1)
    inner_iterations: int = setting("of each maximisation", low=1)
    products: int = setting("with J's curvature per Gauss-Newton step", low=1)
    n_train: int | None = setting("most training examples to use; none: all", None, unit="example", low=1, keyed=True)
    n_validation: int | None = scored_examples("most validation examples to score on; none: all", None, keyed=True)
    step_sizes: tuple[float, ...] = setting("to try", (), keyed=True)
    rhos: tuple[float, ...] = setting("E-MSA's ρ to begin with, to try", ())


@dataclass(frozen=True, kw_only=True)
class Plan(Solving):
    """One measurement per solver."""

    solver: str = setting("unused: `solvers`", "")
    solvers: tuple[str, ...] = setting("which ones", tuple(LABELS), choices=tuple(LABELS))
    fixed = ("solver", "step_sizes", "rhos")

    def configs(self) -> tuple[Solving, ...]:
        return tuple(
            self.to(Solving, solver=name, step_sizes=STEP_SIZES.get(name, ()), rhos=RHOS if name == "emsa" else ())
            for name in self.solvers
        )


def measure(c: Solving, lab: Lab) -> Result:
    """Run one solver from the common start, its step size tuned where it has one."""
    setting = fixed_batch_of(c, method={"method": "lora", "rank": c.rank})
    problem = setting.problem
    start = problem.split(setting.delta.phi0)
    solvers = solvers_by_value(
        c.solver, c.rhos or c.step_sizes, iterations=c.iterations, dear_iterations=c.dear_iterations,
        inner_iterations=c.inner_iterations, products=c.products,
    )  # fmt: skip
    runs = {value: solve(problem, start) for value, solve in solvers.items()}
    best = min(runs, key=lambda value: lowest_cost(runs[value]))
    found = runs[best]
    history = spent_and_bought(found)
    _, score = evaluate(setting.delta, setting.encoded, problem.join(found.controls), "validation", size=c.n_validation)
    off = difference_from_back_propagation(problem, setting.loss, setting.delta.phi0) if c.solver == "sgd" else None
    metrics = {
        "loss": found.cost, "lowest_loss": lowest_cost(found), "residual": found.residual,
        "status": found.status.name.lower(), "message": found.status.value, "iterations": found.iterations,
        "passes": history["passes"].iloc[-1], "train_seconds": found.history[-1]["seconds"],
        "rho" if c.solver == "emsa" else "step_size": best, "score": score,
        "metric": setting.task.metric.name, "back_propagation_difference": off, **counts(setting.delta),
    }  # fmt: skip
    tables = {"solver_convergence": history.assign(label=solver_label(c.solver, best)), "tried": tried_values(runs)}
    if c.solver == "best_layer":
        tables["layer_scores"] = layer_score_table(problem, {"at the start": start, "at its end": found.controls})
    return Result(metrics, tables)


_DEMO = Plan(
    model="minilm", rank=8, sentences=16, tokens=16, iterations=25, dear_iterations=4, inner_iterations=6, products=8,
    n_validation=200,
)  # fmt: skip

EXPERIMENT = Experiment(
    name="solvers",
    question="do solvers of the maximum principle lower the loss of a PLM's controls faster than AdamW and SGD?",
    source="Li, Chen, Tai & E 2017 (E-MSA); Li & Hao 2018 (signs, binary controls); Li & Todorov 2004 (iLQR).",
    varied="the solver.",
    tuned="step sizes of AdamW and SGD, the radius of sign ascent and E-MSA's first ρ over three to five values each, "
    "by the lowest loss, with the whole budget for each. Gauss-Newton's first damping was tuned by hand on MiniLM, "
    "that is, on the reported setting; from there E-MSA and Gauss-Newton choose theirs themselves (undone steps, line "
    "search), and so does L-MSA.",
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
