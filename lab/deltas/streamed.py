"""Overrides θ + P x whose gradients are projected as they appear: no gradient of all weights is ever formed.

A backward pass reaches the blocks last to first. What a leaf gets is handed on at once (autograd runs a leaf's hook
before anything else that is ready), so that of Pᵀg, run by run of neighbouring parts, only one run's g is in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.linalg import Layout
from lab.linalg.operator import LinearOperator
from lab.projections.memory import empty_like_rows


@dataclass(frozen=True, eq=False)
class Run:
    """Neighbouring parts of a flat vector, and the rows of P that move them.

    Attributes:
        layout: the parts.
        rows: P[places], (layout.size, d).
    """

    layout: Layout
    rows: LinearOperator


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
        self._filled: list[tuple[Run, Tensor, set[str]]] = []  # with the parts that nothing has come for yet
        self._spare: dict[int, Tensor] = {}  # memory of a run that is done, for the next of its size
        for run in runs:
            with torch.no_grad():
                moved = run.rows @ x.detach()
                for name, piece in run.layout.unflatten(moved).items():
                    self.overrides[name] = piece.add_(parameters[name])
            self._listen(run)

    def gradient(self) -> Tensor:
        """Pᵀ of all gradients, (d,); parts that the loss does not depend on count as zero."""
        for run, flat, awaited in self._filled:  # of runs that no part of was left out from, nothing is left
            for name in awaited:
                flat[run.layout.slices[name]] = 0
            self._gradient += run.rows.T @ flat
        self._filled, self._spare, self.overrides = [], {}, {}
        return self._gradient

    def _listen(self, run: Run) -> None:
        flats: list[Tensor] = []
        awaited = set(run.layout.names)

        def arrived(name: str, leaf: Tensor) -> None:
            assert leaf.grad is not None
            if not flats:
                flats.append(self._memory(run.layout.size, leaf))
                self._filled.append((run, flats[0], awaited))
            flats[0][run.layout.slices[name]] = leaf.grad.reshape(-1)
            leaf.grad = None
            awaited.discard(name)
            if not awaited:
                self._filled = [entry for entry in self._filled if entry[0] is not run]
                flat = flats.pop()
                self._gradient += run.rows.T @ flat
                self._spare[run.layout.size] = flat

        for name in run.layout.names:
            leaf = self.overrides[name].detach().requires_grad_(True)
            leaf.register_post_accumulate_grad_hook(lambda tensor, name=name: arrived(name, tensor))
            self.overrides[name] = leaf

    def _memory(self, size: int, like: Tensor) -> Tensor:
        """(size,) uninitialised: that of a block that is done, or new, in huge pages where there are any."""
        if size in self._spare:
            return self._spare.pop(size)
        if like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64):
            return empty_like_rows(1, size, like)[0]
        return like.new_empty(size)
