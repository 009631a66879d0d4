"""Activation steering as a control problem: u_t is added to the activation at one position after every block.

    h_{t+1} = f_t(h_t) + e_pos u_t,   J = ½ Σ_t [ ‖(I − P_t)(h_t − μ_t)‖²/spread_t + ρ‖u_t‖² ],   summed over the batch

The subspaces are those of `lab.control.robust`; nothing is trained. Two references for what test-time control can do:
LQR looks ahead through the linearised blocks, PID only looks at the deviation it meets, both in the metric of J.
Neither forms a Jacobian.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.control.ilqr import gauss_newton_cg
from lab.control.pontryagin import adjoint
from lab.control.problem import ControlProblem, Controls, Dynamics, RunningCost, advance, check_controls, rollout
from lab.control.robust import ActivationSubspace
from lab.faces import outlined


@outlined
@dataclass(frozen=True, eq=False)
class Steering:
    """A PLM's blocks with controls added to their outputs.

    Attributes:
        problem: stages are the blocks; u_t is flat, (batch · hidden,).
        subspaces: one per block.
        position: where in the sequence the controls act, (batch,).
        effort: ρ.
        readout: h_T -> logits, the stages after the blocks.
    """

    problem: ControlProblem
    subspaces: tuple[ActivationSubspace, ...]
    position: Tensor
    effort: float
    readout: ControlProblem

    def logits(self, controls: Controls) -> Tensor:
        """What the PLM says under the controls."""
        return self.logits_of(rollout(self.problem, controls).end)

    def logits_of(self, end: Tensor) -> Tensor:
        """What the PLM says of the state that leaves the last block."""
        return advance(self.readout, 0, end, self.readout.zero_controls())


def steering(
    problem: ControlProblem,
    controls: Controls,
    subspaces: Sequence[ActivationSubspace],
    *,
    position: int | Tensor = 0,
    effort: float = 1.0,
) -> Steering:
    """The steering problem of a delta under fixed controls.

    Args:
        problem: from `layerwise`, with plain hidden states (batch, seq, hidden): encoders and decoders.
        controls: the delta's, usually trained; they stay.
        subspaces: one per block, for the activation at `position` after it.
        position: where to steer and to measure, one for all or (batch,): `lab.models.head_position` gives the token the
            head reads. Default 0, an encoder's.
        effort: ρ, the price of ‖u_t‖² against squared deviations in units of the layer's spread.

    Raises:
        ValueError: not one subspace per block.
    """
    us = [u.detach() for u in check_controls(problem, controls)]
    blocks = [t for t, name in enumerate(problem.names) if name.startswith("block ")]
    if len(blocks) != len(subspaces):
        raise ValueError(f"one subspace per block is needed; got {len(subspaces)} for {len(blocks)} blocks.")
    with torch.no_grad():
        start = advance(problem, 0, problem.h0, us[: blocks[0]])
        shape = advance(problem, blocks[0], start, us[blocks[0] : blocks[-1] + 1]).shape
    size = shape[0] * shape[-1]
    where = torch.as_tensor(position, device=start.device).expand(shape[0])

    def stage(t: int) -> Dynamics:
        def step(h: Tensor, u: Tensor) -> Tensor:
            return _added(problem.dynamics[t](h, us[t]), u, where)

        return step

    def deviation_cost(b: int, h: Tensor) -> Tensor:
        return subspaces[b].deviation(at_position(h, where)).square().sum() / subspaces[b].spread / 2

    def running(b: int) -> RunningCost:
        def cost(h: Tensor, u: Tensor) -> Tensor:
            paid = effort * u.square().sum() / 2
            return paid if b == 0 else paid + deviation_cost(b - 1, h)  # h_0 was there before any control

        return cost

    steered = ControlProblem(
        h0=start,
        dynamics=tuple(stage(t) for t in blocks),
        terminal_cost=lambda h: deviation_cost(len(blocks) - 1, h),
        sizes=(size,) * len(blocks),
        running_costs=tuple(running(b) for b in range(len(blocks))),
        names=tuple(problem.names[t] for t in blocks),
    )

    def reading(t: int) -> Dynamics:
        return lambda h, u: problem.dynamics[t](h, us[t])

    rest = range(blocks[-1] + 1, problem.T)
    after = ControlProblem(
        h0=start,
        dynamics=tuple(reading(t) for t in rest) or (lambda h, u: h,),
        terminal_cost=lambda h: h.sum(),
        sizes=(0,) * max(len(rest), 1),
    )
    return Steering(steered, tuple(subspaces), where, effort, after)


def lqr_steering(found: Steering, *, iterations: int = 10, tolerance: float = 1e-2) -> list[Tensor]:
    """The controls that minimise J's quadratic model around the uncontrolled pass: LQR for the linearised blocks.

    One Gauss–Newton step from u = 0 by conjugate gradients, which is the open-loop iLQR step; its products are jvps and
    vjps of the whole chain.

    Args:
        found: the steering problem.
        iterations: products at most. Default 10.
        tolerance: of the linear residual, relative.

    Raises:
        ArithmeticError: the curvature along the gradient is not positive (activations that are not finite).
    """
    at = adjoint(found.problem, found.problem.zero_controls())
    step = gauss_newton_cg(iterations=iterations, tolerance=tolerance)(found.problem, at, 0.0)
    if step is None:
        raise ArithmeticError("the linear-quadratic model has no minimum: some activation or derivative is not finite.")
    return step.controls(1.0)


def pid_steering(found: Steering, *, gain: float = 1.0, integral: float = 0.1, derivative: float = 0.1) -> list[Tensor]:
    """u_t = −gain·(e_t + integral·Σ_{s≤t} e_s + derivative·(e_t − e_{t−1})) / (1 + ρ·spread_t).

    e_t is the deviation met after block t. With gain 1 and the other two 0 this is the myopic optimum: the u_t that
    minimises its own stage's ‖e_t + u_t‖²/spread_t + ρ‖u_t‖². So PID and LQR weigh the blocks alike, and what is left
    between them is the look ahead.

    Args:
        found: the steering problem.
        gain: of all three terms.
        integral: weight of the sum of deviations so far.
        derivative: weight of the last change.
    """
    h, controls = found.problem.h0, []
    total = previous = torch.zeros(())
    with torch.no_grad():
        for t, (f, size) in enumerate(zip(found.problem.dynamics, found.problem.sizes, strict=True)):
            met = f(h, h.new_zeros(size))
            space = found.subspaces[t]
            e = space.deviation(at_position(met, found.position))
            total = total.to(e) + e
            change = e - previous if t else torch.zeros_like(e)
            share = gain / (1 + found.effort * space.spread)
            u = -share * (e + integral * total + derivative * change).reshape(-1)
            controls.append(u)
            h, previous = _added(met, u, found.position), e
    return controls


def energy(controls: Sequence[Tensor]) -> float:
    """Σ_t ‖u_t‖², over the whole batch."""
    return float(sum(u.square().sum() for u in controls))


def pid_of_energy(found: Steering, wanted: float, *, within: float = 0.02, rounds: int = 30) -> list[Tensor]:
    """PID steering whose gain is found so that the controls' energy is `wanted`.

    The energy of small gains grows as their square: the first rounds take the gain that this proposes, where it lies in
    the bracket; the others halve the bracket on a log scale.

    Args:
        found: the steering problem.
        wanted: Σ_t ‖u_t‖².
        within: relative error at which to stop. Default 0.02.
        rounds: gains tried at most; each costs one pass. Default 30.

    Raises:
        ValueError: an energy that is not positive.
        ArithmeticError: no gain tried came within 5 % of it.
    """
    if not wanted > 0:
        raise ValueError(f"the control energy must be positive; got {wanted}.")
    low, high, gain, spent = 0.0, math.inf, 1.0, math.nan
    for k in range(rounds):
        controls = pid_steering(found, gain=gain)
        spent = energy(controls)
        if abs(spent / wanted - 1) <= within:
            return controls
        low, high = (gain, high) if spent < wanted else (low, gain)  # an energy that is not finite is too large
        gain = gain * (wanted / spent) ** 0.5 if 0 < spent < math.inf else math.nan
        if not low < gain < high or (k > 5 and low > 0 and high < math.inf):
            gain = (low * high) ** 0.5 if low > 0 and high < math.inf else (2 * low or high / 2)
    if not abs(spent / wanted - 1) <= 0.05:
        raise ArithmeticError(
            f"PID spends {spent:.4g} at gain {gain:.4g}, not the {wanted:.4g} asked for, after {rounds} gains; "
            "give an energy that its deviations allow, or more rounds."
        )
    return controls


def lqr_of_energy(found: Steering, wanted: float, *, iterations: int = 10) -> list[Tensor]:
    """`lqr_steering`, scaled so that Σ_t ‖u_t‖² is `wanted`: the direction that looks ahead, at any price.

    Args:
        found: the steering problem.
        wanted: Σ_t ‖u_t‖².
        iterations: products at most, as for `lqr_steering`.
    """
    controls = lqr_steering(found, iterations=iterations)
    scale = (wanted / max(energy(controls), torch.finfo(controls[0].dtype).tiny)) ** 0.5
    return [scale * u.detach() for u in controls]


def injected_energy(problem: ControlProblem, controls: Controls, start: Controls, position: Tensor) -> float:
    """Σ_t ‖f_t(h_t, u_t) − f_t(h_t, u⁰_t)‖² at one position per example: what a delta itself adds after every block.

    In the units of steering's ‖u_t‖², along the delta's own trajectory, over the whole batch.

    Args:
        problem: from `layerwise`, with plain hidden states (batch, seq, hidden).
        controls: the delta's, usually trained.
        start: u⁰, those of φ₀: nothing where the delta starts at the identity.
        position: where in the sequence, (batch,).
    """
    us, start = check_controls(problem, controls), check_controls(problem, start)
    total, h = 0.0, problem.h0
    with torch.no_grad():
        for t, name in enumerate(problem.names):
            reached = problem.dynamics[t](h, us[t])
            if name.startswith("block "):
                bare = problem.dynamics[t](h, start[t])
                total += float((at_position(reached, position) - at_position(bare, position)).square().sum())
            h = reached
    return total


def random_of_energy(found: Steering, wanted: float, seed: int) -> list[Tensor]:
    """The null: Gaussian controls of the same energy."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(n, generator=generator, dtype=torch.float64).to(found.problem.h0) for n in found.problem.sizes]
    scale = (wanted / energy(drawn)) ** 0.5
    return [scale * u for u in drawn]


def at_position(h: Tensor, position: Tensor) -> Tensor:
    """h (batch, seq, hidden) at one position per example, (batch, hidden)."""
    return h[torch.arange(len(h), device=h.device), position]


def _added(h: Tensor, u: Tensor, position: Tensor) -> Tensor:
    """h with u (batch · hidden,) added at one position per example."""
    rows = torch.arange(len(h), device=h.device)
    return h.index_put((rows, position), u.reshape(h.shape[0], h.shape[-1]), accumulate=True)
