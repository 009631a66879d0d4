"""Control at test time: bring activations back to where correctly classified training data had them.

The robust prefix of Yang & Liu 2022. Let h_t be the activation at the output position after block t. From the training
data that the model classifies correctly, a PCA per layer gives a subspace S_t; a perturbed input leaves it. With the
labels unknown, controls are tuned so that

    J = Σ_t mean ‖(I − P_t)(h_t − μ_t)‖² / E‖h_t − μ_t‖²_train

falls, P_t the projector onto S_t and μ_t the training mean: a running cost on the state in every layer. J is 0 iff all
activations lie in their subspaces, and each layer counts in units of its own spread (the paper does not normalise).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.control.skeleton import record_blocks
from lab.deltas import Delta
from lab.faces import outlined
from lab.models import read_by_head
from lab.models.plm import PLM, Batch, Overrides


@outlined
@dataclass(frozen=True, eq=False)
class ActivationSubspace:
    """μ + range(basis), where one layer's activations lie.

    Attributes:
        mean: μ, (hidden,).
        basis: orthonormal columns, (hidden, r).
        spread: E‖h − μ‖² of the activations it was made from, scalar.
    """

    mean: Tensor
    basis: Tensor
    spread: Tensor

    def deviation(self, h: Tensor) -> Tensor:
        """(I − P)(h − μ), the part of h outside the subspace; h and result (…, hidden)."""
        centred = h - self.mean
        return centred - centred @ self.basis @ self.basis.mT


def output_states(plm: PLM, overrides: Overrides, batch: Batch) -> tuple[Tensor, Tensor]:
    """The activations a head reads, after every block, (blocks, batch, hidden), and the logits; differentiable.

    Raises:
        ValueError: an encoder-decoder, whose two chains have no common output position.
    """
    if plm.architecture.kind == "encoder-decoder":
        raise ValueError(
            f"{plm.name!r} has two chains of blocks and no common output position; use an encoder or decoder."
        )
    calls, logits = record_blocks(plm, overrides, batch)
    return torch.stack([read_by_head(plm, call.outputs[0], batch) for call in calls]), logits


def activation_subspaces(states: Tensor, *, share: float = 0.99) -> tuple[ActivationSubspace, ...]:
    """One PCA per layer: the fewest directions whose singular values make up `share` of Σσ.

    Args:
        states: activations of correctly classified training data, (n, layers, hidden).
        share: of the sum of singular values, in (0, 1]. Default 0.99 (Yang & Liu 2022, section 4).

    Raises:
        ValueError: fewer than two activations, or a share outside (0, 1].
    """
    if states.ndim != 3 or len(states) < 2:
        raise ValueError(
            f"subspaces need two activations or more, (n, layers, hidden); got shape {tuple(states.shape)}."
        )
    if not 0 < share <= 1:
        raise ValueError(f"the share of Σσ must lie in (0, 1]; got {share}.")
    found = []
    for layer in states.double().unbind(1):
        mean = layer.mean(0)
        _, sigma, Vh = torch.linalg.svd(layer - mean, full_matrices=False)
        reached = sigma.cumsum(0) / sigma.sum().clamp_min(torch.finfo(sigma.dtype).tiny)
        rank = int((reached < share - 1e-12).sum()) + 1
        spread = sigma.square().sum() / len(layer)
        found.append(ActivationSubspace(mean.to(states), Vh[:rank].mT.to(states), spread.to(states)))
    return tuple(found)


def off_subspace(subspaces: Sequence[ActivationSubspace], states: Tensor) -> Tensor:
    """J above, scalar: Σ_t of the mean squared deviation over the layer's spread; states (layers, batch, hidden)."""
    return torch.stack(
        [s.deviation(h).square().sum(-1).mean() / s.spread for s, h in zip(subspaces, states, strict=True)]
    ).sum()


@outlined
@dataclass(frozen=True, eq=False)
class TestTimeControl:
    """Controls tuned on one batch without its labels.

    Attributes:
        phi: φ + ψ, (d,).
        before: J at φ.
        after: J at φ + ψ.
        logits: at φ + ψ, (batch, labels).
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    phi: Tensor
    before: float
    after: float
    logits: Tensor


def robust_control(
    delta: Delta,
    phi: Tensor,
    batch: Batch,
    subspaces: Sequence[ActivationSubspace],
    *,
    steps: int = 5,
    lr: float = 0.01,
) -> TestTimeControl:
    """Tunes ψ on one batch so that activations under φ + ψ return to the subspaces; with a prefix, the robust prefix.

    ψ starts at 0 and moves those coordinates of φ that lie in blocks; the head stays. Steps are Adam's, on J.

    Args:
        delta: the delta that was trained.
        phi: the trained φ.
        batch: the inputs; labels are not used.
        subspaces: one per block, from `activation_subspaces` under this φ.
        steps: Adam steps. Default 5.
        lr: step size, about the change of a coordinate per step. Default 0.01: 0.03 raised J on clean data
            (docs/robustness.md).

    Raises:
        ValueError: no coordinate of the delta lies in a block.
    """
    movable = torch.zeros(delta.size, dtype=torch.bool, device=phi.device)
    for part in delta.layout:
        if part.block is not None:
            movable[delta.layout.slices[part.name]] = True
    if not bool(movable.any()):
        raise ValueError("no coordinate of this delta acts inside a block, so nothing can be controlled at test time.")
    psi = torch.zeros(int(movable.sum()), dtype=phi.dtype, device=phi.device, requires_grad=True)
    adam = torch.optim.Adam([psi], lr=lr)

    def moved() -> Tensor:
        return phi.detach().clone().index_put((movable.nonzero()[:, 0],), phi.detach()[movable] + psi)

    history = []
    for _ in range(steps):
        with torch.enable_grad():
            cost = off_subspace(subspaces, output_states(delta.plm, delta.overrides(moved()), batch)[0])
            (psi.grad,) = torch.autograd.grad(cost, [psi])
        history.append(float(cost.detach()))
        adam.step()
    with torch.no_grad():
        final = moved()
        states, logits = output_states(delta.plm, delta.overrides(final), batch)
        after = float(off_subspace(subspaces, states))
    return TestTimeControl(final, history[0] if history else after, after, logits)
