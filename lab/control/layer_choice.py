"""Which layer is worth updating: the fall of J when one layer moves alone (the layer choice of L-MSA)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, jvp

from lab.control.minimize import Box
from lab.control.pontryagin import Adjoint, adjoint
from lab.control.problem import ControlProblem, Controls, TerminalCost, cost_to_go
from lab.control.successive import Update
from lab.faces import outlined


@outlined
@dataclass(frozen=True, eq=False)
class LayerScores:
    """Per stage; all of shape (T,).

    Attributes:
        predicted: η‖g_t‖² − ½η² g_tᵀG_t g_t with g_t = ∇_u H_t and G_t = ∂²J/∂u_t².
        measured: J(u) − J(u with u_t + η_t g_t instead of u_t).
        steps: η_t.
        curvature: g_tᵀG_t g_t / ‖g_t‖², 0 where g_t = 0.
    """

    predicted: Tensor
    measured: Tensor
    steps: Tensor
    curvature: Tensor


def layer_scores(
    problem: ControlProblem, controls: Controls, *, step: float | None = None, known: Adjoint | None = None
) -> LayerScores:
    """The fall of J if layer t alone took one step of gradient ascent on H_t, for every t.

    The prediction is J's second-order expansion in u_t. It is exact where J is a quadratic in each u_t alone: linear
    dynamics in u (deep linear nets) and a quadratic ℓ.

    Args:
        problem: the control problem.
        controls: where to ask.
        step: η for every layer. Default: each layer's own best, ‖g_t‖² / g_tᵀG_t g_t; a layer whose curvature is not
            positive along g_t has none and then takes the largest step of the others.
        known: the result of `adjoint` at these controls, if at hand.

    Returns:
        LayerScores. Cost: one Hessian-vector product and one forward pass from layer t on, for every t.
    """
    at = adjoint(problem, controls) if known is None else known
    us, hs = at.trajectory.controls, at.trajectory.states

    def tail(t: int) -> TerminalCost:
        return lambda u: cost_to_go(problem, t, hs[t], [u, *us[t + 1 :]])

    problem.tell("products", sum(1 - t / problem.T for t, g in enumerate(at.ascent) if g.numel()))
    slopes = torch.stack([g.square().sum() for g in at.ascent])
    bends = torch.stack(
        [(g * jvp(grad(tail(t)), (us[t],), (g,))[1]).sum() if g.numel() else slopes[t] for t, g in enumerate(at.ascent)]
    )
    steps = _best_steps(slopes, bends) if step is None else torch.full_like(slopes, step)
    predicted = steps * slopes - steps.square() * bends / 2
    measured = torch.stack(
        [tail(t)(us[t]) - tail(t)(us[t] + eta * g) for t, (eta, g) in enumerate(zip(steps, at.ascent, strict=True))]
    )
    curvature = torch.where(slopes > 0, bends / slopes.clamp_min(torch.finfo(slopes.dtype).tiny), 0.0)
    return LayerScores(predicted, measured.detach(), steps, curvature)


def best_layer_ascent() -> Update:
    """L-MSA: each iteration moves one layer alone, the one whose own best step promises the largest fall of J.

    Returns:
        An update for `msa`. One costs what `layer_scores` costs.

    Raises:
        ValueError: by the update, in a box: what a step promises says nothing of the step cut off at a bound.
    """

    def update(problem: ControlProblem, at: Adjoint, box: Box | None = None) -> list[Tensor]:
        if box is not None:
            raise ValueError(
                f"best_layer_ascent chooses among free steps; got the box {box}. Use gradient_ascent, sign_ascent or "
                "full_maximization, which stay in a box, or leave it out."
            )
        scores = layer_scores(problem, at.trajectory.controls, known=at)
        chosen = int(scores.predicted.argmax())
        moved = list(at.trajectory.controls)
        moved[chosen] = moved[chosen] + scores.steps[chosen] * at.ascent[chosen]
        return moved

    return update


def _best_steps(slopes: Tensor, bends: Tensor) -> Tensor:
    bounded = bends > 0
    best = torch.where(bounded, slopes / torch.where(bounded, bends, 1.0), 0.0)
    return torch.where(bounded, best, best.max())
