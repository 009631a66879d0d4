"""Which part of a deviation counts: what can be driven through the blocks and shows in the logits.

In `steering` a control u_s is added to the state that a head reads, after every block s. Along the uncontrolled pass of
one example let C_s = ∂logits/∂h_s at that position, (classes, hidden). As u_s is added to h_s itself, the map from all
controls up to block t to the logits has the columns [C_0, …, C_t]: it is the product of observability and reachability
at the cut t, and its singular values are the Hankel values there (`lab.control.finite_reach.balanced`, of every example
by itself). With [C_0, …, C_t] = U Σ Vᵀ

    readings  Z = C_tᵀ U Σ^{−½},   states  X = R_t V Σ^{−½},   ZᵀX = 1,

and X Zᵀ e is the part of a deviation e that the controls can make and the logits see. Principal components of e know of
neither: on a trained PLM most of what leaves an activation's subspace never reaches the logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp

from lab.control.problem import ControlProblem, Controls, rollout
from lab.control.robust import ActivationSubspace
from lab.control.steering import Steering, at_position, steering


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

    Cost: one backward pass per class, and one forward derivative per block and class.

    Args:
        found: from `steering`; its PLM runs eager attention.
    """
    problem, where = found.problem, found.position
    nothing = [u.requires_grad_(True) for u in problem.zero_controls()]
    with torch.enable_grad():
        logits = found.logits(nothing)
        rows = [torch.autograd.grad(logits[:, c].sum(), nothing, retain_graph=True) for c in range(logits.shape[1])]
    batch, width = problem.h0.shape[0], problem.h0.shape[-1]
    C = torch.stack([torch.stack([g.reshape(batch, width) for g in row]) for row in rows], 2)  # (T, batch, classes, n)
    fixed = [u.detach() for u in nothing]
    subspaces = []
    for t, space in enumerate(found.subspaces):
        gram = torch.einsum("tbcn,tbdn->bcd", C[: t + 1], C[: t + 1])
        squares, U = torch.linalg.eigh(gram)
        squares, U = squares.flip(-1).clamp_min(0), U.flip(-1)
        values = squares.sqrt()
        kept = (
            values > values[:, :1] * values.shape[1] * torch.finfo(values.dtype).eps ** 0.5
        )  # a Gram matrix's rounding
        values = torch.where(kept, values, 0)
        scale = torch.where(kept, values, 1).pow(-0.5) * kept
        Z = (C[t].mT @ U) * scale[:, None]
        V = torch.einsum("tbcn,bck->tbnk", C[: t + 1], U) * (scale**3)[:, None]  # V Σ^{−½} = Hᵀ U Σ^{−3/2}

        def reached(*us: Tensor, t: int = t) -> Tensor:
            return at_position(rollout(problem, [*us, *fixed[t + 1 :]]).states[t + 1], where)

        inputs = tuple(fixed[: t + 1])
        X = [jvp(reached, inputs, tuple(v[..., k].reshape(-1) for v in V))[1] for k in range(V.shape[-1])]
        subspaces.append(
            BalancedSubspace(space.mean, space.basis, space.spread, torch.stack(X, -1), Z.detach(), values)
        )
    return tuple(subspaces)


def balanced_steering(problem: ControlProblem, controls: Controls, found: Steering) -> Steering:
    """The same steering problem in which only balanced deviations cost anything.

    Args:
        problem, controls: those that `found` was made from.
        found: from `steering`.
    """
    return steering(problem, controls, balanced_subspaces(found), position=found.position, effort=found.effort)
