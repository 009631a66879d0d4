"""Overrides θ + P x whose gradients are projected as they appear: no gradient of all weights is ever formed.

A backward pass reaches the blocks last to first. What a leaf gets is handed on at once (autograd runs a leaf's hook
before anything else that is ready), so that of Pᵀg, run by run of neighbouring parts, only one run's g is in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.linalg import Layout
from lab.linalg.operator import LinearOperator
from lab.projections.drawn_rows import DrawnRows


@dataclass(frozen=True, eq=False)
class Run:
    """Neighbouring parts of a flat vector, and the rows of P that move them.

    Attributes:
        layout: the parts.
        rows: P[places], (layout.size, d).
    """

    layout: Layout
    rows: LinearOperator

    @torch.no_grad()
    def moved(self, x: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """θ + P x by name, in one piece of memory."""
        origin = [parameters[name] for name in self.layout.names]
        if isinstance(self.rows, DrawnRows):
            return self.layout.unflatten(self.rows.added_to(origin, x))
        moved = self.layout.unflatten(self.rows @ x)
        return {name: piece.add_(theta) for (name, piece), theta in zip(moved.items(), origin, strict=True)}

    @torch.no_grad()
    def gradient(self, gradients: Mapping[str, Tensor], like: Tensor) -> Tensor:
        """Pᵀ g (d,) of gradients by name; parts that have none count as zero."""
        missing = {part.name: like.new_zeros(part.shape) for part in self.layout if part.name not in gradients}
        every = {**missing, **gradients}
        parts = [every[name] for name in self.layout.names]
        if isinstance(self.rows, DrawnRows):
            return self.rows.adjoint_of(parts)
        return self.rows.T @ torch.cat([part.reshape(-1) for part in parts])


class Streamed:
    """The parameters θ_n + (P x)_n of every run as leaves, and the gradient in x once the loss has gone backward.

    Forward and gradient are those of ``theta + P @ x`` under autograd; sums are taken in another order. One backward
    pass, and no transform of `torch.func`.

    Args:
        x: (d,); its own gradient is not touched.
        runs: what moves.
        parameters: θ by name.

    Attributes:
        overrides: the leaves by name; given up when the gradient is asked for, so that nothing outlives a step.
    """

    def __init__(self, x: Tensor, runs: Sequence[Run], parameters: dict[str, Tensor]):
        self.overrides: dict[str, Tensor] = {}
        self._gradient = torch.zeros_like(x, requires_grad=False)
        self._waiting: list[tuple[Run, dict[str, Tensor]]] = []  # with gradients of some of their parts
        for run in runs:
            self.overrides |= run.moved(x.detach(), parameters)
            self._listen(run)

    def gradient(self) -> Tensor:
        """Pᵀ of all gradients, (d,); parts that the loss does not depend on count as zero."""
        for run, gradients in self._waiting:
            self._gradient += run.gradient(gradients, self._gradient)
        self._waiting, self.overrides = [], {}
        return self._gradient

    def _listen(self, run: Run) -> None:
        gradients: dict[str, Tensor] = {}

        def arrived(name: str, leaf: Tensor) -> None:
            assert leaf.grad is not None
            if not gradients:
                self._waiting.append((run, gradients))
            gradients[name] = leaf.grad
            leaf.grad = None
            if len(gradients) == len(run.layout):
                self._waiting = [entry for entry in self._waiting if entry[0] is not run]
                self._gradient += run.gradient(gradients, self._gradient)
                gradients.clear()

        for name in run.layout.names:
            leaf = self.overrides[name].detach().requires_grad_(True)
            leaf.register_post_accumulate_grad_hook(lambda tensor, name=name: arrived(name, tensor))
            self.overrides[name] = leaf
