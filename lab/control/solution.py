"""What an iterative solver hands back: controls, a status in words, and the history of the way."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from enum import StrEnum
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from lab.control.counting import EVALUATIONS, PRODUCTS, counted
from lab.control.pontryagin import Adjoint, pmp_residual
from lab.control.problem import ControlProblem
from lab.faces import outlined


class Status(StrEnum):
    """How a solver ended; numerical failure is a value, not an exception."""

    CONVERGED = "converged: the gradient of J is within tolerance"
    ITERATION_LIMIT = "iteration limit reached before the tolerance: raise `iterations`, or accept what there is"
    STALLED = "no step lowered J although damping was raised to its limit: a minimum to rounding, or a kink"
    NOT_FINITE = "J or a gradient is not finite: lower the step or raise the damping; the last finite controls are kept"


@outlined
@dataclass(frozen=True, eq=False)
class Solution:
    """The result of a solver.

    Attributes:
        controls: [u_0, …, u_{T−1}], the last accepted ones.
        cost: J there.
        residual: ‖∇J‖ there (projected onto the box, if there is one).
        status: how it ended.
        iterations: iterations run.
        history: one dict per visited point, the start included: iteration, cost, terminal, residual, seconds since the
            start; what was spent until then, undone and rejected steps included: block_products, derivatives of one
            block applied to one vector, counted by hooks (`lab.control.counting`), which compares any two solvers; in
            units of the whole chain, passes (evaluations of stages), adjoints (full backward sweeps) and products with
            J's curvature, as the solver counts its own steps; and what the solver chose (rho, damping, …).
    """

    controls: list[Tensor]
    cost: float
    residual: float
    status: Status
    iterations: int
    history: tuple[dict[str, Any], ...]

    @property
    def converged(self) -> bool:
        return self.status is Status.CONVERGED


class Log:
    """Collects the history of one run.

    Attributes:
        problem: the problem, with all that is asked of it counted; solvers work on this one.
    """

    def __init__(self, problem: ControlProblem, box: tuple[float, float] | None = None):
        self._spent: defaultdict[str, float] = defaultdict(float)
        self.problem = counted(replace(problem, tell=self._count), self._count)
        self.box = box
        self.rows: list[dict[str, Any]] = []
        self._started = perf_counter()

    def _count(self, what: str, amount: float) -> None:
        self._spent[what] += amount

    def add(self, point: Adjoint, **columns: Any) -> float:
        """Appends a row for `point`; returns its residual ‖∇J‖."""
        residual = float(pmp_residual(self.problem, point.trajectory.controls, box=self.box, known=point).total)
        self.rows.append(
            {
                "iteration": len(self.rows),
                "cost": float(point.trajectory.cost),
                "terminal": float(point.trajectory.terminal),
                "residual": residual,
                "seconds": perf_counter() - self._started,
                "block_products": int(self._spent[PRODUCTS]),
                "passes": self._spent[EVALUATIONS] / self.problem.T,
                "adjoints": int(self._spent["adjoints"]),
                "products": self._spent["products"],
                **columns,
            }
        )
        return residual

    def solution(self, point: Adjoint, status: Status) -> Solution:
        last = self.rows[-1]
        return Solution(
            point.trajectory.controls, last["cost"], last["residual"], status, len(self.rows) - 1, tuple(self.rows)
        )


def is_finite(point: Adjoint) -> bool:
    """Whether J and every gradient are finite numbers."""
    return bool(torch.isfinite(point.trajectory.cost)) and all(bool(torch.isfinite(g).all()) for g in point.ascent)


def rises(before: Adjoint, after: Adjoint) -> bool:
    """Whether J rose by more than the rounding of its own evaluation (8 units in the last place)."""
    old, new = before.trajectory.cost, after.trajectory.cost
    return not bool(new <= old + 8 * torch.finfo(old.dtype).eps * old.abs())
