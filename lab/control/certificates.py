"""How far a state may be pushed before a classifier's answer changes: radii from margins and Jacobians.

To first order logits(x + δ) = logits(x) + J δ. With the margin m = f_y − max_{c≠y} f_c, a push moves m by at most
√2 ‖J‖₂ ‖δ‖, as f_y − f_c = (e_y − e_c)ᵀf and ‖e_y − e_c‖ = √2 (Tsuzuku, Sato & Sugiyama 2018), so the answer is kept
for ‖δ‖ < m/(√2 ‖J‖₂). The nearest boundary of the linear model is at min_c (f_y − f_c)/‖∇(f_y − f_c)‖, no nearer.

Where the classifier is linear both are certificates. Elsewhere they are what first order says and no proof: that needs
a Lipschitz constant over the whole ball, and self-attention has none over all inputs (Kim, Papamakarios & Mnih 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lab.control.layerwise import layerwise
from lab.control.problem import advance
from lab.control.tracking import block_stages
from lab.deltas import Delta
from lab.models.plm import Batch


@dataclass(frozen=True, eq=False)
class Radii:
    """Of each example; 0 where the answer is wrong as it is.

    Attributes:
        margin: f_y − max_{c≠y} f_c, (n,), in logits; negative where the answer is wrong.
        steepness: ‖J‖₂, (n,), logits per unit of x.
        radius: m/(√2 ‖J‖₂), (n,), in units of x.
        boundary: distance to the nearest boundary of the linear model, (n,); at least `radius`.
        size: ‖x‖, (n,).
    """

    margin: Tensor
    steepness: Tensor
    radius: Tensor
    boundary: Tensor
    size: Tensor


def first_order_radii(classify: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor) -> Radii:
    """The radii of n examples at once, by one backward pass per class.

    Args:
        classify: x (n, …) -> logits (n, classes); an example's logits depend on its own x alone.
        x: where, (n, …).
        labels: right classes, (n,).

    Raises:
        ValueError: logits of fewer than two classes.
    """
    x = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        logits = classify(x)
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise ValueError(f"a margin needs logits (n, classes) of two classes or more; got {tuple(logits.shape)}.")
        rows = [torch.autograd.grad(logits[:, c].sum(), x, retain_graph=True)[0] for c in range(logits.shape[1])]
    J = torch.stack([row.reshape(len(x), -1) for row in rows], 1)  # (n, classes, numel of one x)
    gram = J @ J.mT
    right = labels[:, None]
    own = logits.detach().gather(1, right)
    differences = (own - logits.detach()).scatter(1, right, torch.inf)
    margin = differences.amin(1)
    steepness = torch.linalg.eigvalsh(gram)[:, -1].clamp_min(0).sqrt()
    diagonal = gram.diagonal(dim1=1, dim2=2)
    cross = gram.gather(1, right[..., None].expand(-1, 1, gram.shape[2]))[:, 0]
    slopes = (diagonal.gather(1, right) + diagonal - 2 * cross).clamp_min(0).sqrt()  # ‖∇(f_y − f_c)‖
    return Radii(
        margin=margin,
        steepness=steepness,
        radius=margin.clamp_min(0) / (2**0.5 * steepness),
        boundary=(differences / slopes.scatter(1, right, 1.0)).amin(1).clamp_min(0),
        size=torch.linalg.vector_norm(x.detach().reshape(len(x), -1), dim=1),
    )


def entrance_radii(delta: Delta, phi: Tensor, batch: Batch) -> Radii:
    """The radii of the states that enter the first block, under a trained delta: the same x for every method.

    Padding has no part in them: no token that is read attends to it. ‖x‖ is that of the tokens that are no padding.

    Args:
        delta: with plain hidden states (batch, seq, hidden): encoders and decoders.
        phi: (d,).
        batch: with "labels" and "attention_mask".
    """
    problem = layerwise(delta, batch, torch.nn.functional.cross_entropy)
    controls = problem.split(phi.detach())
    first = next(t for t, name in enumerate(problem.names) if name.startswith("block "))
    entering = block_stages(problem, controls).h0

    def classify(h: Tensor) -> Tensor:
        return advance(problem, first, h, controls[first:])

    read = (entering * batch["attention_mask"][..., None]).reshape(len(entering), -1)
    found = first_order_radii(classify, entering, batch["labels"])
    return replace(found, size=torch.linalg.vector_norm(read, dim=1))
