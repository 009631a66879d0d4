"""`ControlProblem`: h_{t+1} = f_t(h_t, u_t) with running and terminal costs; `rollout` runs it forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lab.faces import Facts, faced
from lab.linalg import Layout

Dynamics = Callable[[Tensor, Tensor], Tensor]
RunningCost = Callable[[Tensor, Tensor], Tensor]
TerminalCost = Callable[[Tensor], Tensor]
Controls: TypeAlias = "Sequence[Tensor] | Trajectory"
"""[u_0, …, u_{T−1}], u_t of shape (d_t,); a trajectory stands for its controls."""


def no_cost(h: Tensor, u: Tensor) -> Tensor:
    """R_t = 0, as a function of (h_t, u_t)."""
    return u.new_zeros(())


def unheard(what: str, amount: float) -> None:
    """Nobody counts what is asked of a problem."""


def _problem_facts(problem: ControlProblem) -> Facts:
    return {
        "stages": problem.T, "names": ", ".join(problem.names), "controls": f"{problem.size:,} in all",
        "controls per stage": ", ".join(f"{size:,}" for size in problem.sizes),
        "first state": " × ".join(map(str, problem.h0.shape)),
    }  # fmt: skip


def _path_facts(path: Trajectory) -> Facts:
    return {
        "stages": len(path.controls), "cost": float(path.cost), "terminal": float(path.terminal),
        "running": float(path.running.sum()), "end state": " × ".join(map(str, path.end.shape)),
    }  # fmt: skip


@faced(_problem_facts)
@dataclass(frozen=True, eq=False)
class ControlProblem:
    """min_u J(u) = ℓ(h_T) + Σ_t R_t(h_t, u_t) subject to h_{t+1} = f_t(h_t, u_t), t = 0 … T−1.

    Everything is a closed, deterministic function of tensors. Controls are flat vectors, one per stage; states have any
    shape, which may change from stage to stage. All controls together are one flat vector φ (see `join`), so a problem
    made from a delta has that delta's φ.

    Attributes:
        h0: the initial state h_0.
        dynamics: f_t for t = 0 … T−1, (h_t, u_t) -> h_{t+1}.
        terminal_cost: ℓ, h_T -> scalar.
        sizes: d_t, the length of u_t; 0 where a stage has no control.
        running_costs: R_t, (h_t, u_t) -> scalar; empty means none. Most depend on u_t alone; linear-quadratic
            problems penalise the state too.
        names: what each stage is, for tables and figures; default "0" … "T−1".
        end: index of the state that `at="end"` means: T by default; where the last stage reads logits out of the
            network's end state, the index of that end state.
        positions: where the coordinates of (u_0, …, u_{T−1}) lie in φ; default: one after the other.
        state_layouts: for h_0, …, h_T, the named parts of a state that couples several tensors in one flat vector;
            empty where states are plain.
        tell: called with what the problem is asked: how many "adjoints", full backward sweeps, or "products" with its
            curvature, each in units of the whole chain. A solver's log listens; by default nobody does.

    Raises:
        ValueError: the lengths of the fields do not agree.
    """

    h0: Tensor
    dynamics: tuple[Dynamics, ...]
    terminal_cost: TerminalCost
    sizes: tuple[int, ...]
    running_costs: tuple[RunningCost, ...] = ()
    names: tuple[str, ...] = ()
    end: int | None = None
    positions: Tensor | None = None
    state_layouts: tuple[Layout, ...] = ()
    tell: Callable[[str, float], None] = unheard

    def __post_init__(self) -> None:
        T = len(self.dynamics)
        if T == 0:
            raise ValueError("a control problem needs at least one stage; `dynamics` is empty.")
        running, names = tuple(self.running_costs) or (no_cost,) * T, tuple(self.names) or tuple(map(str, range(T)))
        end = T if self.end is None else self.end
        fields: dict[str, tuple] = {"sizes": tuple(self.sizes), "running_costs": running, "names": names}
        for name, value in fields.items():
            if len(value) != T:
                raise ValueError(f"{name} needs one entry per stage ({T}); got {len(value)}.")
        if not 0 <= end <= T:
            raise ValueError(f"end is the index of a state, 0 … {T}; got {end}.")
        if self.positions is not None and self.positions.shape != (self.size,):
            raise ValueError(f"positions needs shape ({self.size},); got {tuple(self.positions.shape)}.")
        # forward mode refuses expanded tensors, hence contiguous
        settled: dict[str, Any] = {**fields, "dynamics": tuple(self.dynamics), "end": end, "h0": self.h0.contiguous()}
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    @property
    def T(self) -> int:
        """Number of stages."""
        return len(self.dynamics)

    @property
    def size(self) -> int:
        """d = Σ_t d_t, the length of φ."""
        return sum(self.sizes)

    def split(self, phi: Tensor) -> list[Tensor]:
        """φ (d,) -> [u_0, …, u_{T−1}]."""
        if phi.shape != (self.size,):
            raise ValueError(f"the joint control has shape ({self.size},); got {tuple(phi.shape)}.")
        ordered = phi if self.positions is None else phi[self.positions]
        return list(torch.split(ordered, list(self.sizes)))

    def join(self, controls: Controls) -> Tensor:
        """[u_0, …, u_{T−1}] -> φ (d,)."""
        ordered = torch.cat(check_controls(self, controls))
        return ordered if self.positions is None else ordered[self._inverse_positions]

    def zero_controls(self) -> list[Tensor]:
        """u_t = 0 for all t, in h_0's dtype and device."""
        return [self.h0.new_zeros(size) for size in self.sizes]

    @cached_property
    def _inverse_positions(self) -> Tensor:
        return torch.argsort(self.positions)  # type: ignore[arg-type]


@faced(_path_facts)
@dataclass(frozen=True, eq=False)
class Trajectory:
    """What controls do: the states they lead through and what that costs.

    Attributes:
        controls: [u_0, …, u_{T−1}].
        states: [h_0, …, h_T].
        terminal: ℓ(h_T), scalar tensor.
        running: R_t(h_t, u_t) for all t, shape (T,).
    """

    controls: list[Tensor]
    states: list[Tensor]
    terminal: Tensor
    running: Tensor

    @property
    def cost(self) -> Tensor:
        """J = ℓ(h_T) + Σ_t R_t, scalar."""
        return self.terminal + self.running.sum()

    @property
    def end(self) -> Tensor:
        """h_T."""
        return self.states[-1]


def rollout(problem: ControlProblem, controls: Controls) -> Trajectory:
    """Runs the dynamics forward; plain torch code, so it is differentiable in the controls.

    Args:
        problem: the control problem.
        controls: [u_0, …, u_{T−1}], u_t of shape (d_t,).

    Returns:
        Trajectory: states h_0 … h_T and the cost in its parts.

    Raises:
        ValueError: the controls are not T flat vectors of the problem's sizes.
    """
    us = check_controls(problem, controls)
    states, running = [problem.h0], []
    for f, R, u in zip(problem.dynamics, problem.running_costs, us, strict=True):
        running.append(R(states[-1], u))
        states.append(f(states[-1], u))
    return Trajectory(us, states, problem.terminal_cost(states[-1]), torch.stack(running))


def advance(problem: ControlProblem, t: int, h: Tensor, controls: Sequence[Tensor]) -> Tensor:
    """The state h_{t+k} reached from h_t = h under u_t, …, u_{t+k−1}; k = the number of controls given."""
    for f, u in zip(problem.dynamics[t : t + len(controls)], controls, strict=True):
        h = f(h, u)
    return h


def cost_to_go(problem: ControlProblem, t: int, h: Tensor, controls: Sequence[Tensor]) -> Tensor:
    """Σ_{s≥t} R_s(h_s, u_s) + ℓ(h_T) from h_t = h under u_t, …, u_{T−1}, scalar; at t = T this is ℓ(h)."""
    total = h.new_zeros(())
    for f, R, u in zip(problem.dynamics[t:], problem.running_costs[t:], controls, strict=True):
        total = total + R(h, u)
        h = f(h, u)
    return total + problem.terminal_cost(h)


def detached(trajectory: Trajectory) -> Trajectory:
    """The same numbers without their autograd graph."""
    return Trajectory(
        [u.detach() for u in trajectory.controls],
        [h.detach() for h in trajectory.states],
        trajectory.terminal.detach(),
        trajectory.running.detach(),
    )


def check_controls(problem: ControlProblem, controls: Controls) -> list[Tensor]:
    """The controls as a list, after checking their number and shapes.

    Raises:
        ValueError: what was got and what was expected.
    """
    given = controls.controls if isinstance(controls, Trajectory) else controls
    us = [u.contiguous() for u in given]  # forward mode refuses expanded tensors, as φ₀ = 0 often is one
    shapes, expected = [tuple(u.shape) for u in us], [(size,) for size in problem.sizes]
    if shapes != expected:
        where = next((t for t, (a, b) in enumerate(zip(shapes, expected, strict=False)) if a != b), None)
        got = f"{len(shapes)} controls" if where is None else f"u[{where}] of shape {shapes[where]}"
        need = f"{len(expected)} controls" if where is None else f"shape {expected[where]} at stage {where}"
        raise ValueError(
            f"controls do not fit this problem: got {got}, expected {need}; `problem.split(phi)` makes them."
        )
    return us


def require_path(asking: str, problem: object, trajectory: object) -> None:
    """Refuses what is no control problem with a trajectory of it, as a delta and its φ are.

    Args:
        asking: the function that is called.

    Raises:
        TypeError: one of the two is something else.
    """
    if not isinstance(problem, ControlProblem) or not isinstance(trajectory, Trajectory):
        raise TypeError(
            f"{asking} takes a control problem and a trajectory: problem = layerwise(delta, batch, task.loss), then "
            f"rollout(problem, problem.split(phi)); got {type(problem).__name__} and {type(trajectory).__name__}."
        )
