"""`Collection`: the weight changes of many trained deltas on one host, read lazily, matrix by matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from lab.faces import outlined
from lab.geometry.collections.stack import Change, Stack, stacked
from lab.linalg import Layout, LinearOperator, LowRank, Part


@dataclass(frozen=True)
class Member:
    """Who made one of the changes.

    Attributes:
        name: unique in the collection.
        task: what it was trained on; members of one task differ by seed. "" when unknown: a task of its own.
        type: the kind of task ("sentiment", "topic", …), or "".
        seed: of the training run, or None.
    """

    name: str
    task: str = ""
    type: str = ""
    seed: int | None = None


@outlined
@dataclass(frozen=True, eq=False)
class Collection:
    """N changes ΔW_1 … ΔW_N of the same matrices of one PLM.

    A collection is points in R^D, D = Σ m·n over its matrices: ⟨ΔW_i, ΔW_j⟩ is summed over them. What a change *is* are
    its matrices ΔW, never the factors B and A: every number made from a collection is the same for (BM⁻¹, MA), with an
    M of its own for each member and matrix.

    Attributes:
        members: who they are, N of them.
        shapes: name of a matrix -> (m, n), in order of depth.
        read: (index of a member, name of a matrix) -> ΔW (m, n), dense or as factors. Read on demand: one matrix of all
            members is in memory at a time, never two members as a whole.
        dtype: of all products. float32 is twice as fast, and right to about 1e-6 of the largest ‖ΔW_i‖.

    Raises:
        ValueError: no member, no matrix, or two members of one name.
    """

    members: tuple[Member, ...]
    shapes: Mapping[str, tuple[int, int]]
    read: Callable[[int, str], Change]
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        if not self.members or not self.shapes:
            raise ValueError(
                f"a collection needs members and matrices; got {len(self.members)} members and {len(self.shapes)} "
                "matrices."
            )
        names = [member.name for member in self.members]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"members need names of their own; more than once: {repeated[:5]}.")

    def __len__(self) -> int:
        return len(self.members)

    @property
    def names(self) -> tuple[str, ...]:
        """The matrices, in order of depth."""
        return tuple(self.shapes)

    @cached_property
    def layout(self) -> Layout:
        """R^D = ⊕ of the matrices."""
        return Layout(tuple(Part(name, shape) for name, shape in self.shapes.items()))

    def change(self, member: int, name: str) -> Change:
        """ΔW (m, n) of one member, on the CPU and in the collection's dtype.

        Raises:
            ValueError: it has another shape than the collection's, or is not finite; the message names the member.
        """
        value = self.read(member, name)
        who = f"member {self.members[member].name!r}, matrix {name!r}"
        if tuple(value.shape) != self.shapes[name]:
            raise ValueError(f"{who}: shape {tuple(value.shape)}; the others have {self.shapes[name]}. Leave it out.")
        parts = (value.left, value.right) if isinstance(value, LowRank) else (value,)
        if not all(bool(torch.isfinite(part).all()) for part in parts):
            raise ValueError(f"{who} is not finite; leave the member out, or train it again.")
        converted = [part.detach().to("cpu", self.dtype) for part in parts]
        return LowRank(*converted) if isinstance(value, LowRank) else converted[0]

    def stack(self, name: str) -> Stack:
        """The N changes of one matrix, read now."""
        return stacked([self.change(i, name) for i in range(len(self))])

    def stacks(self) -> Iterator[tuple[str, Stack]]:
        """(name, stack) of every matrix, one after the other."""
        return ((name, self.stack(name)) for name in self.names)

    def subset(self, indices: Sequence[int]) -> Collection:
        """Some of the members, in the given order."""
        kept = list(indices)
        return replace(
            self, members=tuple(self.members[i] for i in kept), read=lambda i, name: self.read(kept[i], name)
        )

    def numbers(self) -> int:
        """How many numbers the members hold, all of them as large as the first, which is read for it."""
        changes = [self.change(0, name) for name in self.names]
        parts = [p for x in changes for p in ((x.left, x.right) if isinstance(x, LowRank) else (x,))]
        return len(self) * sum(part.numel() for part in parts)

    def in_memory(self) -> Collection:
        """The same collection, read once and kept: for a null that is drawn many times."""
        held = {(i, name): self.change(i, name) for name in self.names for i in range(len(self))}
        return replace(self, read=lambda i, name: held[i, name])

    def vectors(self) -> Vectors:
        """The operator R^N -> R^D whose column i is ΔW_i, all its matrices in one vector."""
        return Vectors(self)


class Vectors(LinearOperator):
    """w ∈ R^N ↦ Σ_i w_i ΔW_i ∈ R^D: the matrix of a collection's members, never formed.

    Each product reads the collection once.
    """

    def __init__(self, collection: Collection):
        self.collection = collection
        self.shape, self.dtype = (collection.layout.size, len(collection)), collection.dtype

    def _matmat(self, X: Tensor) -> Tensor:
        if not X.shape[1]:
            return X.new_zeros(self.shape[0], 0)
        parts = [stack.combinations(X.to(self.dtype)) for _, stack in self.collection.stacks()]
        return torch.cat(parts).to(X)

    def _rmatmat(self, Y: Tensor) -> Tensor:
        if not Y.shape[1]:
            return Y.new_zeros(self.shape[1], 0)
        slices = self.collection.layout.slices
        products = [stack.products(Y[slices[name]].to(self.dtype)) for name, stack in self.collection.stacks()]
        return torch.stack(products).sum(dim=0).to(Y)


def from_updates(updates: Mapping[Member | str, Mapping[str, Change]]) -> Collection:
    """A collection of changes that are in memory.

    Args:
        updates: member, or its name -> name of a matrix -> ΔW.

    Raises:
        ValueError: a member has other matrices than the first, another shape, or is not finite.
    """
    members = tuple(m if isinstance(m, Member) else Member(m) for m in updates)
    values = list(updates.values())
    require_same_matrices(members, values)
    shapes = {name: (change.shape[0], change.shape[1]) for name, change in values[0].items()} if values else {}
    collection = Collection(members, shapes, lambda i, name: values[i][name])
    for name in collection.names:
        collection.stack(name)  # the check at the door
    return collection


def require_same_matrices(members: Sequence[Member], matrices: Sequence[Mapping[str, object]]) -> None:
    """Every member changes the matrices of the first.

    Raises:
        ValueError: one does not; the message names it and the matrix.
    """
    for member, own in zip(members, matrices, strict=True):
        differing = sorted(own.keys() ^ matrices[0].keys())
        if differing:
            raise ValueError(
                f"member {member.name!r} changes {len(own)} matrices, {members[0].name!r} {len(matrices[0])}; in one "
                f"of them only: {differing[:3]}. A collection holds changes of the same matrices: leave the member out."
            )
