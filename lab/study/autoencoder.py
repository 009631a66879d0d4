"""Intrinsic prompt tuning (Qin et al. 2021) for any delta: maps z ∈ R^k ↦ φ that are good for many tasks at once.

Stage 1 of the paper: an encoder and a decoder minimise, over the seen tasks i,

    CE_i(dec(enc(φ_i))) + α‖dec(enc(φ_i)) − φ_i‖².

Stage 2 trains z alone, with the decoder as it is (`lab.study.coordinates.Trainer.best`). Beside both stands the PCA of
the same φ_i: the decoder that a linear pair converges to where the first term is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from lab.statistics.intrinsic_prompt import HIDDEN, LINEAR, PCA


@dataclass(frozen=True, eq=False)
class Standardised:
    """Displacements of the seen tasks around their mean, in units of their spread; of one method, or several in turn.

    Attributes:
        values: (N, d), rows of mean square norm 1 per method.
        means, scales: of each method: its φ − φ₀ is mean + scale·(its part of a row).
        sizes: numbers of each method.
    """

    values: Tensor
    means: tuple[Tensor, ...]
    scales: tuple[float, ...]
    sizes: tuple[int, ...]

    @staticmethod
    def of(displacements: Sequence[Tensor]) -> Standardised:
        """From (N, d_m) of each method, tasks in one order.

        Raises:
            ValueError: fewer than two tasks, or tasks that do not differ.
        """
        means = tuple(x.mean(dim=0) for x in displacements)
        centred = [x - mean for x, mean in zip(displacements, means, strict=True)]
        scales = tuple(float(x.square().sum(dim=1).mean().sqrt()) for x in centred)
        if not all(scale > 0 for scale in scales):
            raise ValueError("an autoencoder needs two tasks or more whose φ differ.")
        values = torch.cat([x / scale for x, scale in zip(centred, scales, strict=True)], dim=1)
        return Standardised(values, means, scales, tuple(x.shape[1] for x in displacements))

    def displacement(self, row: Tensor, method: int = 0) -> Tensor:
        """(d_m,): φ − φ₀ of one method from a row (d,) in standard units."""
        part = torch.split(row, list(self.sizes), dim=-1)[method]
        return self.means[method] + self.scales[method] * part


@dataclass(frozen=True, eq=False)
class Decoder:
    """z ∈ R^k ↦ a row in standard units; z = 0 gives (nearly) the mean, z of size 1 a member's distance from it.

    Attributes:
        name: how it was found.
        k: dimension of z.
        decode: (k,) -> (d,), smooth.
        error: √(mean over members of ‖dec(enc(φ_i)) − φ_i‖²), in units of the members' spread.
    """

    name: str
    k: int
    decode: Callable[[Tensor], Tensor]
    error: float


def pca_decoder(data: Standardised, k: int) -> Decoder:
    """The k leading principal directions, each as long as the members' spread along it.

    Raises:
        ValueError: k is not in 1 … N − 1.
    """
    _require(data, k)
    n = len(data.values)
    _, sigma, V = torch.linalg.svd(data.values, full_matrices=False)
    basis = V[:k].T * (sigma[:k] / sqrt(n))
    error = float((sigma[k:].square().sum() / n).sqrt())
    return Decoder(PCA, k, lambda z: basis @ z, error)


TaskLoss = Callable[[int, Tensor, int], Tensor]
"""(seen task, row (d,) in standard units, step) -> mean loss of a batch [nats]."""


def autoencoder(
    data: Standardised,
    k: int,
    task_loss: TaskLoss | None,
    *,
    hidden: int | None = None,
    steps: int = 0,
    alpha: float = 1.0,
    warm_up: int = 500,
    lr: float = 3e-3,
    seed: int = 0,
) -> Decoder:
    """Encoder and decoder by AdamW: first to reconstruct (no PLM is run for it), then on the paper's whole objective.

    The paper starts with both terms at once; with few steps the warm-up is what makes dec(enc(φ_i)) a delta at all.

    Args:
        data: of the seen tasks.
        k: dimension of z.
        task_loss: of the seen tasks; None: reconstruction alone.
        hidden: width of the decoder's tanh layer (768 in the paper); None: linear.
        steps: on the whole objective, one seen task a step, in turn.
        alpha: weight of the reconstruction, whose unit is the members' spread (200 in the paper, of raw prompts).
        warm_up: steps of reconstruction, of all tasks at once. Found by tuning: the linear pair is then within a few
            per cent of PCA's error.
        lr: step size, decayed linearly over each phase. Found by tuning.
        seed: of the first weights.

    Raises:
        ValueError: k is not in 1 … N − 1.
    """
    _require(data, k)
    generator = torch.Generator().manual_seed(seed)
    X = data.values
    d = X.shape[1]

    def weights(rows: int, columns: int) -> Tensor:
        values = torch.randn(rows, columns, generator=generator, dtype=torch.float64) / sqrt(columns)
        return values.to(X).requires_grad_(True)

    E = weights(k, d)
    first = weights(k if hidden is None else hidden, k)
    last = weights(d, first.shape[0])
    with torch.no_grad():
        last *= 1 / sqrt(d)  # a row in standard units has norm 1, not √d
    offset = torch.zeros(first.shape[0], dtype=X.dtype, requires_grad=True)
    shift = torch.zeros(d, dtype=X.dtype, requires_grad=True)
    parameters = [E, last, shift] if hidden is None else [E, first, offset, last, shift]

    def decode(z: Tensor) -> Tensor:
        inner = z if hidden is None else torch.tanh(z @ first.T + offset)
        return inner @ last.T + shift

    def reconstruction() -> Tensor:
        return (decode(X @ E.T) - X).square().sum(dim=1).mean()

    for phase, length in (("warm-up", warm_up), ("whole", 0 if task_loss is None else steps)):
        optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
        for step in range(length):
            optimizer.param_groups[0]["lr"] = lr * (1 - step / length)
            loss = reconstruction()
            if phase == "whole":
                assert task_loss is not None  # else no step
                i = step % len(X)
                loss = task_loss(i, decode(E @ X[i]), step) + alpha * loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
    with torch.no_grad():
        error = float(reconstruction().sqrt())
        spread = (X @ E.T).square().mean(dim=0).sqrt()
        E, first, offset, last, shift = (tensor.detach() for tensor in (E, first, offset, last, shift))
    return Decoder(LINEAR if hidden is None else HIDDEN, k, lambda z: decode(spread * z), error)


def _require(data: Standardised, k: int) -> None:
    n = len(data.values)
    if not 1 <= k <= n - 1:
        raise ValueError(f"{n} tasks span {n - 1} directions around their mean; got k = {k}.")
