"""How far apart the members' inputs or outputs are, by principal angles, and a map of the tasks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lab.geometry.collections.collection import Collection
from lab.geometry.collections.stack import Side
from lab.linalg import Spectrum

Array = NDArray[np.float64]

_SAME = 1e-10
"""Overlaps this near to 1 are of equal spaces: mean squared cosines of float64 bases are good to about 1e-14."""


def subspace_overlaps(collection: Collection, side: Side = "right") -> Array:
    """(N, N): Σ_W ‖Q_iᵀQ_j‖_F²/Σ_W min(r_i, r_j), the mean squared cosine of the principal angles, over all matrices.

    Q_i are orthonormal bases of the members' row spaces ("right", inputs) or column spaces ("left"). 1 when one space
    holds the other in every matrix; r/n on average for random ones of rank r in R^n.

    Raises:
        ValueError: as `Collection.change`.
    """
    shared, possible = np.zeros((len(collection),) * 2), np.zeros((len(collection),) * 2)
    for name in collection.names:
        bases = []
        for i in range(len(collection)):
            spectrum = Spectrum.of(collection.change(i, name), vectors=True)
            vectors = spectrum.left if side == "left" else spectrum.right
            assert vectors is not None  # asked for
            bases.append(vectors[:, : spectrum.rank])
        ranks = np.array([basis.shape[1] for basis in bases])
        together = torch.cat(bases, dim=1)
        squares = (together.T @ together).square().numpy()
        owner = np.repeat(np.arange(len(bases)), ranks)
        blocks = np.zeros((len(bases), len(bases)))
        np.add.at(blocks, (owner[:, None], owner[None, :]), squares)
        shared += blocks
        possible += np.minimum.outer(ranks, ranks)
    return np.divide(shared, possible, out=np.zeros_like(shared), where=possible > 0)


def interference(collection: Collection) -> Array:
    """(N, N): entry [i, j] = Σ_W ‖ΔW_jP_i‖_F²/Σ_W ‖ΔW_i‖_F², what member j does to the inputs that member i reads.

    P_i projects on the row space of ΔW_i, so ‖ΔW_jP_i‖² = Σ σ_a² cos²: the squared singular values of ΔW_j by the
    principal angles between the two row spaces. Task i's own change acts on its row space alone; a sum adds Σ_{j ≠ i}
    ΔW_jP_i to it there. 0 off the diagonal means that a sum of changes leaves task i's as it is on those inputs; 1 on
    the diagonal.

    Raises:
        ValueError: as `Collection.change`; a member is zero.
    """
    held = np.zeros((len(collection),) * 2)
    energy = np.zeros(len(collection))
    for name in collection.names:
        stack = collection.stack(name)
        for i in range(len(collection)):
            spectrum = Spectrum.of(collection.change(i, name), vectors=True)
            assert spectrum.right is not None  # asked for
            inputs = spectrum.right[:, : spectrum.rank].to(collection.dtype)
            held[i] += stack.energies(inputs, "right").double().sum(dim=1).numpy()
            energy[i] += spectrum.frobenius_norm**2
    if not energy.all():
        zero = collection.members[int(np.argmin(energy))].name
        raise ValueError(f"member {zero!r} is zero: nothing can interfere with it; leave it out.")
    return held / energy[:, None]


def task_maps(collection: Collection) -> pd.DataFrame:
    """`task_map` by the members' inputs and by their outputs: member, type, side, x, y, kept (the plane's share).

    A side on which all members have one space is left out, as its points would be rounding errors: a prompt of few
    tokens has every output, a square ΔW of full rank all of both. Without a side the table is empty.
    """
    tables = [pd.DataFrame(columns=["member", "x", "y", "kept", "type", "side"])]
    sides: tuple[tuple[Side, str], ...] = (("right", "inputs"), ("left", "outputs"))
    for side, name in sides:
        overlaps = subspace_overlaps(collection, side)
        if float((1 - overlaps).max()) < _SAME:
            continue
        points = task_map(overlaps, [member.name for member in collection.members])
        points["type"] = [member.type for member in collection.members]
        tables.append(points.rename(columns={"share": "kept"}).assign(side=name))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def task_map(overlaps: Array, names: list[str]) -> pd.DataFrame:
    """Points in the plane whose distances are like the chordal distances √(1 − overlap): classical scaling.

    Torgerson 1952: B = −½ H D² H, coordinates from its two leading eigenvectors. Signs and rotation mean nothing.

    Args:
        overlaps: (N, N) of `subspace_overlaps`.
        names: N labels.

    Returns:
        member, x, y, and `share`: the part of Σ|eigenvalues| that the plane holds, the same in every row.
    """
    squared = np.maximum(1 - overlaps, 0.0)
    np.fill_diagonal(squared, 0.0)
    H = np.eye(len(names)) - 1 / len(names)
    values, vectors = np.linalg.eigh(-H @ squared @ H / 2)
    order = np.argsort(values)[::-1][:2]
    xy = vectors[:, order] * np.sqrt(np.maximum(values[order], 0.0))
    xy = np.pad(xy, [(0, 0), (0, 2 - xy.shape[1])])
    total = np.abs(values).sum()
    share = float(np.maximum(values[order], 0.0).sum() / total) if total else 1.0
    return pd.DataFrame({"member": names, "x": xy[:, 0], "y": xy[:, 1], "share": share})
