"""Which part of a deviation counts: what can be driven to the state that is steered, and shows in the logits there.

In `steering` a control u_s is added to the state that a head reads, after every block s. Along the uncontrolled pass of
one example let h_t be that state after block t, at its position, C_t = ∂logits/∂h_t (classes, hidden) and R_t = ∂h_t/∂u
for the controls up to block t. The singular values of C_t R_t = U Σ Vᵀ are Hankel values of the cut at this position
(Moore 1981; `lab.control.finite_reach.balanced` takes the cut through all positions), and

    readings  Z = C_tᵀ U Σ^{−½},   states  X = R_t V Σ^{−½},   ZᵀX = 1:

X Zᵀ e is the part of a deviation e that the controls can make and the logits see. Principal components of e know of
neither: what leaves an activation's subspace need not reach the logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp

from lab.control.problem import ControlProblem, Controls, rollout
from lab.control.robust import ActivationSubspace
from lab.control.steering import Steering, at_position, steering
from lab.faces import outlined


@outlined
@dataclass(frozen=True, eq=False)
class BalancedSubspace(ActivationSubspace):
    """An activation subspace off which only balanced directions count, other ones for every example of a batch.

    Attributes:
        states: X, (batch, hidden, k).
        readings: Z, (batch, hidden, k).
        values: Hankel values, (batch, k), decreasing; 0 where there are fewer than k.
    """

    states: Tensor
    readings: Tensor
    values: Tensor

    def deviation(self, h: Tensor) -> Tensor:
        """X Zᵀ (I − P)(h − μ); h and result (batch, hidden)."""
        outside = super().deviation(h)
        return (self.states @ (self.readings.mT @ outside[..., None]))[..., 0]


def balanced_subspaces(found: Steering) -> tuple[BalancedSubspace, ...]:
    """The subspaces of a steering problem with the balanced directions along its uncontrolled pass, block by block.

    Cost: one backward pass and one forward derivative per block and class, and one backward pass per class.

    Args:
        found: from `steering`; its PLM runs eager attention.
    """
    problem, where = found.problem, found.position
    batch, width = problem.h0.shape[0], problem.h0.shape[-1]
    controls = [u.requires_grad_(True) for u in problem.zero_controls()]
    with torch.enable_grad():
        path = rollout(problem, controls)
        logits = found.logits_of(path.end)
        read = [at_position(h, where) for h in path.states[1:]]
    rows = [torch.autograd.grad(logits[:, c].sum(), controls, retain_graph=True) for c in range(logits.shape[1])]
    subspaces = []
    for t, space in enumerate(found.subspaces):
        C = torch.stack([row[t].reshape(batch, width) for row in rows], 1)  # u_t is added to h_t itself
        back = [torch.autograd.grad(read[t], controls[: t + 1], c, retain_graph=True) for c in C.unbind(1)]
        H = torch.stack([torch.stack([u.reshape(batch, width) for u in row]) for row in back], 2)  # (t+1, b, c, n)
        X, Z, values = _balanced(problem, where, t, C, H)
        subspaces.append(BalancedSubspace(space.mean, space.basis, space.spread, X, Z, values))
    return tuple(subspaces)


def _balanced(problem: ControlProblem, where: Tensor, t: int, C: Tensor, H: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """X, Z and Σ of every example from C_t and the rows of C_t R_t."""
    squares, U = torch.linalg.eigh(torch.einsum("tbcn,tbdn->bcd", H, H))
    values, U = squares.flip(-1).clamp_min(0).sqrt(), U.flip(-1)
    rounding = values.shape[1] * torch.finfo(values.dtype).eps ** 0.5  # of a Gram matrix, relative
    kept = values > values[:, :1] * rounding
    scale = torch.where(kept, values, 1).pow(-0.5) * kept
    V = torch.einsum("tbcn,bck->tbnk", H, U) * (scale**3)[:, None]  # V Σ^{−½} = Hᵀ U Σ^{−3/2}
    nothing = problem.zero_controls()

    def reached(*us: Tensor) -> Tensor:
        return at_position(rollout(problem, [*us, *nothing[t + 1 :]]).states[t + 1], where)

    tangents = [tuple(v[..., k].reshape(-1) for v in V) for k in range(V.shape[-1])]
    X = torch.stack([jvp(reached, tuple(nothing[: t + 1]), tangent)[1] for tangent in tangents], -1)
    return X, (C.mT @ U) * scale[:, None], values * kept


def balanced_steering(problem: ControlProblem, controls: Controls, found: Steering) -> Steering:
    """The same steering problem in which only balanced deviations cost anything.

    Args:
        problem, controls: those that `found` was made from.
        found: from `steering`.
    """
    return steering(problem, controls, balanced_subspaces(found), position=found.position, effort=found.effort)
