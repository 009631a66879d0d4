"""What solvers spent and what loss it bought, as tables."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor

from lab.control.layer_choice import layer_scores
from lab.control.pontryagin import adjoint
from lab.control.problem import ControlProblem
from lab.control.solution import Solution
from lab.control.successive import gradient_ascent, msa


def lowest_cost(found: Solution) -> float:
    """The least cost along a solver's way."""
    return min(row["cost"] for row in found.history)


def spent_and_bought(found: Solution) -> pd.DataFrame:
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


def tried_values(runs: dict[float | None, Solution]) -> pd.DataFrame:
    """One row per value tried: the least cost, the last one, and how the solver ended."""
    rows = [(value, lowest_cost(run), run.cost, run.status.name.lower()) for value, run in runs.items()]
    table = pd.DataFrame(rows, columns=["value", "lowest_loss", "loss", "status"])
    return table.astype({"value": float})


def difference_from_back_propagation(
    problem: ControlProblem, loss: Callable[[Tensor], Tensor], phi0: Tensor, *, step: float = 0.1
) -> float:
    """Largest relative difference of φ between three steps of gradient ascent on H and of SGD on the loss itself.

    Args:
        problem: whose Hamiltonian is ascended.
        loss: J(φ), without the control problem.
        phi0: (d,), where both start.
        step: step size of both.
    """
    solution = msa(problem, problem.split(phi0), update=gradient_ascent(step), iterations=3)
    phi = phi0.clone().requires_grad_()
    optimizer = torch.optim.SGD([phi], lr=step)
    for _ in range(3):
        (phi.grad,) = torch.autograd.grad(loss(phi), phi)
        optimizer.step()
    return float((problem.join(solution.controls) - phi.detach()).abs().max() / phi.detach().abs().max())


def layer_score_table(problem: ControlProblem, places: dict[str, list[Tensor]]) -> pd.DataFrame:
    """The fall of J that each layer alone promises and gives, at several controls."""
    tables = []
    for place, controls in places.items():
        scores = layer_scores(problem, controls, known=adjoint(problem, controls))
        columns = {name: getattr(scores, name).tolist() for name in ("predicted", "measured", "steps", "curvature")}
        table = pd.DataFrame({"stage": problem.names, "t": range(problem.T), "controls": problem.sizes, **columns})
        tables.append(table[table.controls > 0].assign(place=place, label="LoRA"))
    return pd.concat(tables, ignore_index=True)
