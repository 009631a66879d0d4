"""A collection compressed into the inputs and outputs its members share: on disk, with adapters rebuilt from it."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import asdict
from math import sqrt
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lab.geometry.collections.collection import Collection, Member
from lab.geometry.collections.folders import read_collection
from lab.geometry.collections.mode_subspaces import mode_subspaces
from lab.geometry.collections.stack import Change
from lab.geometry.collections.written import write_adapter
from lab.linalg import LowRank, Spectrum

SUBSPACE, DESCRIPTION, ADAPTERS = "subspace.safetensors", "subspace.json", "adapters"
_FORMAT = "deltalab subspace 1"


def compress(
    collection: Collection, k: int, folder: str | Path, *, dtype: torch.dtype = torch.float32, base: str | None = None
) -> pd.DataFrame:
    """Write the mode subspaces of a collection, and every member rebuilt from them as a peft adapter.

    ``subspace.safetensors`` holds U, V and the cores of every matrix, ``subspace.json`` members, shapes and errors,
    ``adapters/`` one folder per member. All appears in one step, or not at all. Errors are measured on what lies on
    disk: each adapter is read back and compared with the member it stands for.

    Args:
        collection: the members, of low rank.
        k: dimension of the inputs and of the outputs that are kept of every matrix.
        folder: new or empty.
        dtype: of what is written.
        base: hub id of the PLM, for whoever loads the adapters by their own names.

    Returns:
        One row per member: member, rank, relative_error (‖ΔW − read back‖/‖ΔW‖), round_trip (‖U C Vᵀ − read
        back‖/‖ΔW‖: what writing alone costs), numbers (of its core), adapter (its folder).

    Raises:
        FileExistsError: the folder is not empty.
        ValueError: as `mode_subspaces` and `write_adapter`; two members whose names make one folder.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} exists already; remove it or choose another folder.")
    names = [re.sub(r"[^\w.-]", "_", member.name) for member in collection.members]
    if len(set(names)) < len(names):
        raise ValueError(f"members are written to folders of their names; two would share one: {sorted(names)}.")
    modes = mode_subspaces(collection, k)
    rebuilt = modes.reconstruction()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for i, name in enumerate(names):
            write_adapter(rebuilt, i, temporary / ADAPTERS / name, dtype=dtype, base=base)
        back = read_collection({name: temporary / ADAPTERS / name for name in names})
        core = sum(cores[0].numel() for cores in modes.cores.values())
        rows = []
        for i, member in enumerate(collection.members):
            size, error, trip = _distances(collection, rebuilt, back, i)
            rank = max(_rank(back.change(i, matrix)) for matrix in back.names)
            rows.append(
                {"member": member.name, "rank": rank, "relative_error": error / size, "round_trip": trip / size,
                 "numbers": core, "adapter": str(target / ADAPTERS / names[i])}
            )  # fmt: skip
        table = pd.DataFrame(rows)
        tensors: dict[str, Tensor] = {}
        for matrix in collection.names:
            tensors[f"{matrix}.left"] = modes.left[matrix].basis.to(dtype).contiguous()
            tensors[f"{matrix}.right"] = modes.right[matrix].basis.to(dtype).contiguous()
            tensors[f"{matrix}.cores"] = modes.cores[matrix].to(dtype).contiguous()
        save_file(tensors, temporary / SUBSPACE, metadata={"format": "pt"})
        described = {
            "format": _FORMAT,
            "k": k,
            "members": [asdict(member) for member in collection.members],
            "shapes": {name: list(shape) for name, shape in collection.shapes.items()},
            "error_bound": modes.error_bound,
            "relative_errors": table["relative_error"].tolist(),
            "numbers": modes.size,
        }
        (temporary / DESCRIPTION).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return table


def read_compressed(folder: str | Path) -> Collection:
    """The collection U C_i Vᵀ that `compress` wrote, read matrix by matrix.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or not written by `compress`.
    """
    path = Path(folder)
    for name in (SUBSPACE, DESCRIPTION):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path} has no {name}; give a folder that `compress` wrote.")
    described = _description(path / DESCRIPTION)
    try:
        members = tuple(Member(**member) for member in described["members"])
        shapes = {name: (int(m), int(n)) for name, (m, n) in described["shapes"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path / DESCRIPTION} lacks members or shapes ({error}); write it again.") from error

    def read(i: int, name: str) -> Change:
        try:
            with safe_open(path / SUBSPACE, framework="pt") as file:
                U, V = file.get_tensor(f"{name}.left"), file.get_tensor(f"{name}.right")
                return LowRank(U @ file.get_slice(f"{name}.cores")[i], V.T)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path / SUBSPACE}: matrix {name!r} cannot be read ({error}); write it again.") from error

    return Collection(members, shapes, read)


def _description(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no valid JSON ({error}).") from error
    if not isinstance(described, dict) or described.get("format") != _FORMAT:
        raise ValueError(f"{path} does not say {_FORMAT!r}; it was not written by this version of `compress`.")
    return described


def _distances(own: Collection, rebuilt: Collection, back: Collection, i: int) -> tuple[float, float, float]:
    """‖ΔW_i‖, ‖ΔW_i − read back‖, ‖rebuilt − read back‖ over all matrices."""
    squares = [0.0, 0.0, 0.0]
    for name in own.names:
        true, made, read = own.change(i, name), rebuilt.change(i, name), back.change(i, name)
        for position, difference in enumerate((true, _minus(true, read), _minus(made, read))):
            squares[position] += Spectrum.of(difference).frobenius_norm ** 2
    return sqrt(squares[0]), sqrt(squares[1]), sqrt(squares[2])


def _minus(a: Change, b: Change) -> Change:
    if isinstance(a, LowRank) and isinstance(b, LowRank):
        return LowRank(torch.cat([a.left, -b.left.to(a.left)], dim=1), torch.cat([a.right, b.right.to(a.right)]))
    dense = [x.to_dense() if isinstance(x, LowRank) else x for x in (a, b)]
    return dense[0] - dense[1]


def _rank(change: Change) -> int:
    return change.left.shape[1] if isinstance(change, LowRank) else min(change.shape)
