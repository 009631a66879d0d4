"""Named parts and one flat vector: the one converter between the two, with the block (layer) each part belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from lab.faces import Facts, faced


@dataclass(frozen=True)
class Part:
    """One named tensor of a flat vector.

    Attributes:
        name: unique within the layout.
        shape: the tensor's shape.
        block: index t of the block (layer) it belongs to; None for parts of no block (embeddings, heads).
    """

    name: str
    shape: tuple[int, ...]
    block: int | None = None

    @property
    def size(self) -> int:
        return prod(self.shape)


def _facts(layout: Layout) -> Facts:
    blocks = {part.block for part in layout.parts} - {None}
    return {
        "size": layout.size, "parts": len(layout.parts), "blocks": len(blocks) or None,
        "first": layout.parts[0].name if layout.parts else None,
    }  # fmt: skip


@faced(_facts)
@dataclass(frozen=True)
class Layout:
    """An ordered set of parts: R^d = ⊕ parts.

    Example:
        >>> layout = Layout((Part("a", (2, 3)), Part("b", (4,), block=0)))
        >>> flat = torch.arange(10.0)
        >>> torch.equal(layout.flatten(layout.unflatten(flat)), flat)
        True
    """

    parts: tuple[Part, ...]

    def __post_init__(self):
        names = [part.name for part in self.parts]
        if len(set(names)) != len(names):
            repeated = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"part names must be unique; repeated: {repeated[:5]}.")

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], blocks: Mapping[str, int | None] | None = None) -> Layout:
        """The layout of named tensors; `blocks` maps a name to its block index."""
        blocks = blocks or {}
        return cls(tuple(Part(name, tuple(t.shape), blocks.get(name)) for name, t in tensors.items()))

    @cached_property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """name -> its slice of the flat vector."""
        slices, start = {}, 0
        for part in self.parts:
            slices[part.name] = slice(start, start + part.size)
            start += part.size
        return slices

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts)

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """The block indices that occur, ascending."""
        return tuple(sorted({part.block for part in self.parts if part.block is not None}))

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)

    def __add__(self, other: Layout) -> Layout:
        """Direct sum: this layout's parts, then the other's."""
        return Layout(self.parts + other.parts)

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of `flat` (size,) by name; one `split`, so its backward is one concatenation."""
        if flat.ndim != 1 or flat.shape[0] != self.size:
            raise ValueError(f"this layout needs a flat vector ({self.size},); got shape {tuple(flat.shape)}.")
        pieces = torch.split(flat, [part.size for part in self.parts])
        return {part.name: piece.reshape(part.shape) for part, piece in zip(self.parts, pieces, strict=True)}

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The flat vector (size,) of named tensors; names and shapes must be exactly the layout's."""
        if set(tensors) != set(self.names):
            missing, extra = sorted(set(self.names) - set(tensors)), sorted(set(tensors) - set(self.names))
            raise ValueError(f"names differ from the layout's: missing {missing[:5]}, unexpected {extra[:5]}.")
        for part in self.parts:
            if tuple(tensors[part.name].shape) != part.shape:
                got = tuple(tensors[part.name].shape)
                raise ValueError(f"part {part.name!r} needs shape {part.shape}; got {got}.")
        if not self.parts:
            return torch.zeros(0)
        return torch.cat([tensors[part.name].reshape(-1) for part in self.parts])

    def select(self, names: Iterable[str]) -> Layout:
        """The sub-layout of the given names, in this layout's order."""
        wanted = set(names)
        unknown = sorted(wanted - set(self.names))
        if unknown:
            raise ValueError(f"unknown part names {unknown[:5]}; this layout has e.g. {list(self.names[:5])}.")
        return Layout(tuple(part for part in self.parts if part.name in wanted))

    def indices(self, block: int | None) -> Tensor:
        """Positions (int64) of the coordinates that belong to `block` in the flat vector."""
        ranges = [torch.arange(s.start, s.stop) for p in self.parts if p.block == block for s in [self.slices[p.name]]]
        return torch.cat(ranges) if ranges else torch.zeros(0, dtype=torch.int64)
