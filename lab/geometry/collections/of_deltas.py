"""Collections of trained φ: the matrices they change, or, where a method changes none, φ itself."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lab.checkpoints.names import aligned
from lab.deltas import Delta
from lab.deltas.matrix_update import MatrixUpdate
from lab.geometry.collections.collection import Collection, Member, from_updates
from lab.geometry.weight_changes import native_changes
from lab.linalg import require_finite
from lab.models import PLM


def from_phis(solutions: Mapping[Member | str, tuple[Delta, Tensor]]) -> Collection:
    """The weight changes of trained deltas (records of one or several methods on one PLM), without new heads.

    Args:
        solutions: member, or its name -> (delta, its trained φ (d,)).

    Raises:
        ValueError: a φ has another length or is not finite, a delta changes no native matrix (prompt, prefix, adapter:
            see `from_coordinates`), or the members' matrices differ; the message names the member.
    """
    updates = {}
    for who, (delta, phi) in solutions.items():
        name = who.name if isinstance(who, Member) else who
        if phi.shape != (delta.size,):
            raise ValueError(f"member {name!r}: φ has shape {tuple(phi.shape)}; its delta's is ({delta.size},).")
        require_finite(phi, f"φ of member {name!r}")
        with torch.no_grad():
            updates[who] = native_changes(delta, phi)
        if not updates[who]:
            raise ValueError(
                f"member {name!r} changes no matrix of the PLM ({delta}); compare such deltas in their own coordinates "
                "(from_coordinates)."
            )
    return from_updates(updates)


def from_coordinates(delta: Delta, phis: Mapping[Member | str, Tensor]) -> Collection:
    """The displacements φ − φ₀ of runs of one delta, without the head: what intrinsic prompt tuning decomposes.

    For prompts, prefixes and adapters, which change no W. The coordinates mean the same in every member, as all share
    φ₀; do not use it for LoRA, whose factors are one choice of many.

    Args:
        delta: the map all members share; with a free head, the head's coordinates are left out.
        phis: member, or its name -> trained φ (d,).

    Returns:
        A collection with one matrix per part of φ (vectors as one row), whose `layout` is the body's: subspaces of it
        restrict the delta's body.

    Raises:
        ValueError: a φ has another length or is not finite.
    """
    body = [part for part in delta.layout if part.name not in delta.plm.new_names]
    updates = {}
    for who, phi in phis.items():
        name = who.name if isinstance(who, Member) else who
        if phi.shape != (delta.size,):
            raise ValueError(f"member {name!r}: φ has shape {tuple(phi.shape)}; this delta's is ({delta.size},).")
        moved = delta.layout.unflatten((phi - delta.phi0).detach())
        updates[who] = {part.name: moved[part.name].reshape(-1, part.shape[-1]) for part in body}
    return from_updates(updates)


def update_on(plm: PLM, collection: Collection) -> MatrixUpdate:
    """The delta whose φ are the points of a collection: to train in its subspaces.

    `update_on(plm, c).restrict(subspace.basis, origin=subspace.origin)`; add the method's head to it.

    Args:
        plm: the PLM of the collection, under any prefix of names ("bert.").
        collection: its matrices.

    Raises:
        ValueError: the PLM lacks a matrix, or has it in another shape.
    """
    known = {matrix.label: matrix.shape for matrix in plm.matrices(plm.architecture.roles(plm.model))}
    pairs, _, missing = aligned(known, collection.shapes)
    if missing:
        raise ValueError(f"{plm.name!r} has no block matrix {missing[0]!r}; it is not the PLM of this collection.")
    for name, shape in collection.shapes.items():
        if known[pairs[name]] != shape:
            raise ValueError(f"{name!r} has shape {shape} in the collection, {known[pairs[name]]} in {plm.name!r}.")
    return MatrixUpdate(plm, [pairs[name] for name in collection.names])
