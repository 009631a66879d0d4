"""Solvers of a control problem by name, one for each value of what they have to tune."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from lab.control.ilqr import gauss_newton_cg, ilqr
from lab.control.layer_choice import best_layer_ascent
from lab.control.problem import ControlProblem
from lab.control.solution import Solution
from lab.control.successive import extended_msa, full_maximization, msa, optimizer_ascent, sign_ascent

Solve = Callable[[ControlProblem, list[Tensor]], Solution]
"""A solver: (problem, controls to start from) -> solution."""

LABELS = {
    "adamw": "AdamW",
    "sgd": "SGD, momentum 0.9",
    "sign": "sign ascent",
    "msa": "MSA, full maximisation",
    "emsa": "E-MSA, ρ adapted",
    "gauss_newton": "Gauss–Newton by CG",
    "best_layer": "L-MSA, best layer",
}


def solvers_by_value(
    name: str, values: Sequence[float], *, iterations: int, dear_iterations: int, inner_iterations: int, products: int
) -> dict[float | None, Solve]:
    """The value tried (a step size; E-MSA's first ρ) -> solver; None where the solver has nothing to tune.

    Args:
        name: one of `LABELS`.
        values: to try, of a solver that has something to tune.
        iterations: of the gradient methods.
        dear_iterations: of the solvers with an inner maximisation.
        inner_iterations: of each maximisation.
        products: with J's curvature per Gauss-Newton step.
    """
    few = dear_iterations
    cheap = partial(msa, iterations=iterations, tolerance=0.0)
    alone: dict[str, Solve] = {
        "msa": partial(msa, update=full_maximization(inner_iterations), iterations=few, tolerance=0.0),
        "gauss_newton": partial(
            ilqr, direction=gauss_newton_cg(iterations=products), damping=DAMPING, iterations=few, tolerance=0.0
        ),
        "best_layer": partial(msa, update=best_layer_ascent(), iterations=few, tolerance=0.0),
    }  # fmt: skip
    if name in alone:
        return {None: alone[name]}
    if name == "emsa":
        extended = partial(extended_msa, growth=4.0, inner_iterations=inner_iterations, iterations=few, tolerance=0.0)
        return {rho: partial(extended, rho=rho) for rho in values}

    def stepped(step: float) -> Solve:
        # the optimisers keep state, so each run makes its own
        def solve(problem: ControlProblem, start: list[Tensor]) -> Solution:
            made = {
                "adamw": lambda: optimizer_ascent(lambda params: torch.optim.AdamW(params, lr=step, weight_decay=0.0)),
                "sgd": lambda: optimizer_ascent(lambda params: torch.optim.SGD(params, lr=step, momentum=0.9)),
                "sign": lambda: sign_ascent(step),
            }
            return cheap(problem, start, update=made[name]())

        return solve

    return {step: stepped(step) for step in values}


DAMPING = 1e-3
"""Levenberg's μ to begin with, tuned by hand on MiniLM: at φ₀ LoRA's A moves nothing, so JᵀCJ is singular."""


def solver_label(solver: str, value: float | None) -> str:
    """What a figure calls a solver with the value it was given."""
    if value is None:
        return LABELS[solver]
    return f"{LABELS[solver]}, {'first ρ' if solver == 'emsa' else 'step'} {value:g}"
