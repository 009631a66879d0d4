"""One text under a delta by layer and token: states, costates, Hamiltonian, and a plane to see paths in.

Unlike `layerwise`, this needs no split of φ over blocks, so it holds for every delta, DID and SAID included; where both
apply they agree (a test). It costs one forward and one backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_unflatten

from lab.deltas import Delta
from lab.deltas.soft_tokens import soft_positions, soft_tokens_of
from lab.models.graft import structural_copy
from lab.models.plm import Batch


@dataclass(frozen=True, eq=False)
class TokenView:
    """What happens to one text of n tokens on its way through T blocks.

    Attributes:
        logits: (classes,).
        label: the class whose loss J = −log p(label | text) is.
        loss: J [nats].
        states: h_0, …, h_T at the text's tokens, (T + 1, n, hidden); soft tokens of a prompt are left out.
        costates: p_t = −∂J/∂h_t there, likewise [nats per unit of state].
    """

    logits: Tensor
    label: int
    loss: float
    states: Tensor
    costates: Tensor

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, (classes,)."""
        return self.logits.softmax(-1)

    @property
    def costate_norms(self) -> Tensor:
        """‖p_t‖ of each token, (T + 1, n): how much a small push of that state there would lower J."""
        return torch.linalg.vector_norm(self.costates, dim=-1)

    @property
    def hamiltonian(self) -> Tensor:
        """Each token's part of H_t = ⟨p_{t+1}, f_t(h_t, u_t)⟩, (T, n) [nats]; they add up to it (no running cost)."""
        return (self.costates[1:] * self.states[1:]).sum(-1)


def token_view(delta: Delta, phi: Tensor, batch: Batch, label: int | None = None) -> TokenView:
    """The view of one text.

    Args:
        delta: of a classifier, on an encoder or a decoder.
        phi: (d,).
        batch: one text without padding.
        label: the class whose loss is differentiated; None: the predicted one.

    Raises:
        ValueError: several texts, padding, or an encoder-decoder, whose two chains see different tokens.
    """
    if batch["input_ids"].shape[0] != 1 or not bool(batch["attention_mask"].all()):
        raise ValueError(f"one text without padding is viewed; got a batch of shape {tuple(batch['input_ids'].shape)}.")
    if delta.plm.architecture.kind == "encoder-decoder":
        raise ValueError(f"{delta.plm.name!r} has two chains of blocks, which see different tokens; take another PLM.")
    form = delta.unmerged  # the same states, without a copy of every changed weight
    host = replace(form.plm, model=structural_copy(form.plm.model))
    states: list[Tensor] = []

    def keep_first(_module: nn.Module, args: tuple) -> tuple:
        states.append(args[0].detach().requires_grad_())
        return states[0], *args[1:]

    def keep(_module: nn.Module, _args: tuple, output: Any) -> Any:
        leaves, spec = tree_flatten(output)
        # a view of its own: a block that hands its input on would make two states one node of the graph
        states.append(leaves[0].view_as(leaves[0]))
        return tree_unflatten([states[-1], *leaves[1:]], spec)

    names = host.architecture.block_names(host.model)
    host.model.get_submodule(names[0]).register_forward_pre_hook(keep_first)
    for name in names:
        host.model.get_submodule(name).register_forward_hook(keep)
    with torch.no_grad():
        overrides = form.overrides(phi)
    with torch.enable_grad():
        (logits,) = host.logits(overrides, batch)
        label = int(logits.argmax()) if label is None else label
        loss = F.cross_entropy(logits[None], torch.tensor([label], device=logits.device))
    slopes = torch.autograd.grad(loss, states, allow_unused=True, materialize_grads=True)
    text = _text_positions(host.model, states[0].shape[1])
    h, p = (torch.stack([s.detach()[0, text] for s in kept]) for kept in (states, [-g for g in slopes]))
    return TokenView(logits.detach(), label, float(loss.detach()), h, p)


def _text_positions(model: nn.Module, length: int) -> Tensor:
    """Which of the blocks' positions are tokens of the text, (length,) of bool."""
    stacks = [module for module in model.modules() if soft_tokens_of(module)]
    return ~soft_positions(stacks[0], length) if stacks else torch.ones(length, dtype=torch.bool)


@dataclass(frozen=True, eq=False)
class Plane:
    """Two directions in which paths of states are seen.

    Attributes:
        origin: (hidden,).
        axes: orthonormal, (2, hidden).
        shares: of the paths' variance about the origin along each axis, (2,).
    """

    origin: Tensor
    axes: Tensor
    shares: Tensor

    def of(self, path: Tensor) -> Tensor:
        """Coordinates of states (T + 1, hidden), (T + 1, 2)."""
        return (path - self.origin) @ self.axes.mT


def plane_of(*paths: Tensor) -> Plane:
    """The first two principal components of the states of all paths together, each (T + 1, hidden).

    An axis points where the last state of the first path has a coordinate that is not negative, so that small changes
    of the paths do not turn the picture over.
    """
    states = torch.cat(paths).double()
    origin = states.mean(0)
    _, sigma, V = torch.linalg.svd(states - origin, full_matrices=False)
    ends = V[:2] @ (paths[0][-1].double() - origin)
    axes = V[:2] * torch.where(ends < 0, -1.0, 1.0)[:, None]
    total = sigma.square().sum().clamp_min(torch.finfo(sigma.dtype).tiny)
    return Plane(origin.to(paths[0]), axes.to(paths[0]), (sigma[:2].square() / total).to(paths[0]))
