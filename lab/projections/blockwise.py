"""Projections put together part by part: stacked on one φ, or in direct sum, with a scale for each part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lab.linalg.layout import Layout
from lab.linalg.operator import LinearOperator
from lab.projections.counter import Stream, stream_key
from lab.projections.fastfood import Fastfood
from lab.projections.projection import Projection

Combination = Literal["stack", "direct_sum"]


@dataclass(frozen=True, eq=False)
class Blockwise(LinearOperator):
    """stack: y = (λ_1 P_1 x, …, λ_m P_m x), all parts moved by one x;  direct_sum: y = (λ_1 P_1 x_1, …, λ_m P_m x_m).

    The λ are the layer scales of SAID (Aghajanyan et al. 2020); a tensor λ is differentiated through.

    Attributes:
        pieces: one operator per part.
        combination: "stack" or "direct_sum".
        scales: λ, one number per piece; None: √(D_i / D) for stack and 1 for direct_sum, which keep isotropic pieces
            isotropic: E‖Px‖² = ‖x‖².

    Raises:
        ValueError: for no piece, stacked pieces of different widths, a wrong number of scales.
    """

    pieces: tuple[LinearOperator, ...]
    combination: Combination = "stack"
    scales: tuple[float, ...] | Tensor | None = None

    name: ClassVar[str] = "blockwise"
    drawn: ClassVar[bool] = False

    def __post_init__(self):
        if self.combination not in ("stack", "direct_sum"):
            raise ValueError(f"combination must be 'stack' or 'direct_sum'; got {self.combination!r}.")
        if not self.pieces:
            raise ValueError("Blockwise needs at least one piece; got none.")
        widths = {piece.shape[1] for piece in self.pieces}
        if self.combination == "stack" and len(widths) > 1:
            raise ValueError(f"stacked pieces act on one vector and need one width; got widths {sorted(widths)[:5]}.")
        if self.scales is not None and len(self.scales) != len(self.pieces):
            raise ValueError(f"Blockwise needs one scale per piece, {len(self.pieces)}; got {len(self.scales)}.")

    @classmethod
    def over(cls, layout: Layout, d: int, *, seed: int = 0, projection: type[Projection] = Fastfood) -> Blockwise:
        """The stack of one drawn projection R^d -> R^(size of part) per part of a layout, each with a seed of its own.

        As the published code does it, tensor by tensor. Parts smaller than d take the first rows of a map into R^d,
        rescaled.
        """
        pieces = []
        for i, part in enumerate(layout):
            rows = max(part.size, d)
            P: LinearOperator = projection(rows, d, seed=stream_key(stream_key(seed, Stream.PARTS), i) >> 1)
            pieces.append(P if rows == part.size else P[: part.size, :] * sqrt(rows / part.size))
        return cls(tuple(pieces))

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        widths = [piece.shape[1] for piece in self.pieces]
        return sum(piece.shape[0] for piece in self.pieces), widths[0] if self.combination == "stack" else sum(widths)

    @property
    def D(self) -> int:
        return self.shape[0]

    @property
    def d(self) -> int:
        return self.shape[1]

    def scaled(self, scales: tuple[float, ...] | Tensor) -> Blockwise:
        """The same pieces under other scales."""
        return replace(self, scales=scales)

    def _matmat(self, X: Tensor) -> Tensor:
        if self.combination == "stack":
            inputs = [X] * len(self.pieces)
        else:
            inputs = list(torch.split(X, [piece.shape[1] for piece in self.pieces]))
        scale = self._scale()
        return torch.cat([scale[i] * (piece @ x) for i, (piece, x) in enumerate(zip(self.pieces, inputs, strict=True))])

    def _rmatmat(self, Y: Tensor) -> Tensor:
        outputs = torch.split(Y, [piece.shape[0] for piece in self.pieces])
        scale = self._scale()
        parts = [scale[i] * (piece.T @ y) for i, (piece, y) in enumerate(zip(self.pieces, outputs, strict=True))]
        return sum(parts[1:], parts[0]) if self.combination == "stack" else torch.cat(parts)

    def _scale(self) -> tuple[float, ...] | Tensor:
        if self.scales is not None:
            return self.scales
        if self.combination == "direct_sum":
            return (1.0,) * len(self.pieces)
        return tuple(sqrt(piece.shape[0] / self.D) for piece in self.pieces)
