"""The least control that changes a prediction: what first order promises, and what is achieved when it is applied.

    min ‖δ‖²  subject to  m(φ + δ) = −ε,     m(φ) = logit of the class predicted at φ − logit of another class

First order has the closed form δ = −(m + ε) g/‖g‖² with g = ∇m, the minimum-energy control of the scalar y = m
(`minimum_energy`). Repeating it about the point reached (Rackwitz & Fiessler 1978; of inputs, as DeepFool:
Moosavi-Dezfooli et al. 2016) ends where the constraint holds and δ ∝ g: a stationary point of the
problem, and no proof that none is nearer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import torch
from torch import Tensor

from lab.deltas import Delta
from lab.models.plm import Batch

BEYOND = 0.1
"""ε [logit]: how far beyond the border the prediction is to go; odds of 1.1 : 1."""


@dataclass(frozen=True, eq=False)
class Attempt:
    """One linearisation, applied.

    Attributes:
        length: ‖δ‖.
        promised: m(φ + δ) by the linearisation it came from [logit].
        achieved: m(φ + δ) [logit].
        predicted: the class predicted there.
    """

    length: float
    promised: float
    achieved: float
    predicted: int


@dataclass(frozen=True, eq=False)
class Flip:
    """The least control found.

    Attributes:
        control: δ (d,); add it to φ.
        start: the class predicted at φ.
        target: the other class.
        margin: m(φ) [logit].
        slope: ‖g‖ at φ over the coordinates that may move [logit per unit of φ].
        by_chance: E|m(φ + r) − m(φ)| to first order of a random r, as long as δ, in those coordinates [logit].
        attempts: the linearisations, in order.
    """

    control: Tensor
    start: int
    target: int
    margin: float
    slope: float
    by_chance: float
    attempts: tuple[Attempt, ...]

    @property
    def flipped(self) -> bool:
        """Whether the prediction at φ + δ is the target."""
        return bool(self.attempts) and self.attempts[-1].predicted == self.target

    def shares(self, delta: Delta) -> dict[int | None, float]:
        """Block (None: outside the blocks) -> its share of the energy ‖δ‖²."""
        energy: dict[int | None, float] = {}
        for part in delta.layout:
            own = float(self.control[delta.layout.slices[part.name]].square().sum())
            energy[part.block] = energy.get(part.block, 0.0) + own
        total = sum(energy.values()) or 1.0
        return {block: own / total for block, own in energy.items()}


def least_flip(
    delta: Delta, phi: Tensor, batch: Batch, *, free: Tensor | None = None, target: int | None = None, attempts: int = 3
) -> Flip:
    """The least control that flips the prediction for one text.

    Args:
        delta: of a classifier.
        phi: (d,).
        batch: one text.
        free: coordinates of φ that may move, (d,) of bool; default all.
        target: the class to flip to; default the one whose border is nearest to first order, min |m|/‖g‖.
        attempts: most linearisations. Default 3: the logits of a PLM are smooth enough for two corrections to hold the
            margin to a few hundredths of a logit; each costs a forward and a backward pass.

    Returns:
        Flip; `flipped` says whether it succeeded. Where no free coordinate moves the margin the control is 0.

    Raises:
        ValueError: fewer than two classes, or several texts.
    """
    start_phi, form = phi.detach(), delta.unmerged  # the same logits, without gradients of the size of the weights
    x = start_phi.clone().requires_grad_()
    logits = _logits(form, x, batch)
    now = int(logits.argmax())
    others = [k for k in range(len(logits)) if k != now] if target is None else [target]
    margins = [logits[now] - logits[k] for k in others]
    each = torch.eye(len(margins), dtype=logits.dtype, device=logits.device)  # all classes in one pass over the weights
    (rows,) = torch.autograd.grad(torch.stack(margins), x, grad_outputs=each, is_grads_batched=True)
    slopes = [_free(row, free) for row in rows]
    nearest = min(range(len(others)), key=lambda i: float(margins[i].detach()) / max(float(slopes[i].norm()), 1e-30))
    m, g, to = float(margins[nearest].detach()), slopes[nearest], others[nearest]
    margin, slope = m, float(g.norm())
    control, made = torch.zeros_like(start_phi), []
    for _ in range(attempts):
        if not bool(g.any()):
            break
        control = g * ((g @ control - (m + BEYOND)) / (g @ g))
        x = (start_phi + control).requires_grad_()
        logits = _logits(form, x, batch)
        reached = logits[now] - logits[to]
        m = float(reached.detach())
        made.append(Attempt(float(control.norm()), -BEYOND, m, int(logits.argmax())))
        if abs(m + BEYOND) <= 0.1 * BEYOND:
            break
        if len(made) < attempts:
            g = _free(torch.autograd.grad(reached, x)[0], free)
    n = int(free.sum()) if free is not None else len(phi)
    by_chance = slope * float(control.norm()) * sqrt(2 / (pi * max(n, 1)))
    return Flip(control, now, to, margin, slope, by_chance, tuple(made))


def _logits(delta: Delta, phi: Tensor, batch: Batch) -> Tensor:
    with torch.enable_grad():
        found = delta.logits(phi, batch)
    if found.shape[0] != 1 or found.shape[-1] < 2:
        raise ValueError(
            f"a flip needs the logits of one text for two classes or more; got shape {tuple(found.shape)}."
        )
    return found[0]


def _free(slope: Tensor, free: Tensor | None) -> Tensor:
    return slope if free is None else slope * free
