"""Collections from files: peft adapters, and tuned checkpoints beside a base; headers first, tensors on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lab.checkpoints.adapter_folder import CONFIG, WEIGHTS, AdapterFolder, open_adapter
from lab.checkpoints.error import CheckpointError
from lab.checkpoints.folder import WeightFolder
from lab.checkpoints.lora_factors import lora_tensors
from lab.checkpoints.lora_options import LoRAOptions, lora_options
from lab.checkpoints.names import aligned
from lab.checkpoints.safetensors_file import read_tensor
from lab.geometry.collections.collection import Collection, Member, require_same_matrices
from lab.geometry.collections.stack import Change
from lab.geometry.sources import changes_between
from lab.linalg import LowRank
from lab.models.folders import open_weights
from lab.models.in_memory import Source, adapter_on_disk, is_peft
from lab.models.positions import architecture_in, positions


@dataclass(frozen=True, eq=False)
class _Source:
    """The changes in one folder: shapes from headers, values on demand."""

    shapes: Mapping[str, tuple[int, int]]
    read: Callable[[str], Change]
    base: str = ""


def read_collection(folders: Mapping[Member | str, Source], base: Source | None = None) -> Collection:
    """The collection of adapters and tuned checkpoints in folders.

    LoRA and rsLoRA adapters are known by their headers; factors are read when asked for. Other adapters with a ΔW
    (DoRA, LoHa, …) are merged by peft into the base, one by one, and their dense ΔW is kept; tuned checkpoints are
    compared with the base tensor by tensor.

    Args:
        folders: member, or its name -> folder, or a model in memory (see `changes_between`).
        base: the PLM below all of them; needed by all but LoRA and rsLoRA. Names and shapes are checked against it.

    Raises:
        ValueError: two adapters name different bases, a member has other matrices or shapes than the first, or does not
            fit the base; a file is damaged or an option means nothing. The message names the member or the file.
        FileNotFoundError: no such folder.
    """
    members = tuple(m if isinstance(m, Member) else Member(m) for m in folders)
    weights = None if base is None else open_weights(base)
    sources = []
    for member, folder in zip(members, folders.values(), strict=True):
        source = _in_memory(folder, base) if isinstance(folder, nn.Module) else _source(Path(folder), base)
        sources.append(source if weights is None else _on_base(member, source, weights))
    _require_one_base(members, sources)
    require_same_matrices(members, [source.shapes for source in sources])
    for member, source in zip(members, sources, strict=True):
        for name, shape in source.shapes.items():
            if shape != sources[0].shapes[name]:
                raise ValueError(
                    f"member {member.name!r}: matrix {name!r} has shape {shape}, and {sources[0].shapes[name]} in "
                    f"{members[0].name!r}; they were trained on different PLMs."
                )
    return Collection(members, sources[0].shapes if sources else {}, lambda i, name: sources[i].read(name))


def _in_memory(model: nn.Module, base: Source | None) -> _Source:
    """A model in memory; of a PeftModel its adapter, read like one in a folder."""
    adapter = adapter_on_disk(model) if is_peft(model) else None
    if adapter is not None:
        return _source(adapter, base)
    held = {change.name: change.difference for change in changes_between(base, model)}
    return _Source({name: _shape(value) for name, value in held.items()}, held.__getitem__)


def _source(folder: Path, base: Source | None) -> _Source:
    if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
        adapter = open_adapter(folder)
        options = lora_options(adapter.options, adapter.config) if adapter.kind == "LORA" else None
        if options and options.additive and not adapter.config.get("trainable_token_indices"):
            return _lora(adapter, options)
    changes = changes_between(base, folder)
    held = {change.name: change.difference for change in changes} if (folder / CONFIG).is_file() else None
    if held is not None:
        return _Source({name: _shape(value) for name, value in held.items()}, held.__getitem__)
    header = open_weights(folder)
    at = positions(list(changes.names), architecture_in(header))
    shapes = {name: _oriented(header.entries[name].shape, at[name].transposed) for name in changes.names}
    return _Source(shapes, lambda name: changes.read(name).difference)


def _lora(adapter: AdapterFolder, options: LoRAOptions) -> _Source:
    """A LoRA by its header: the factors are checked on tensors without storage, and opened when asked for."""
    stored = {f"{module}.weight": own for module, own in lora_tensors(adapter, options).factors.items()}
    if not stored:
        raise CheckpointError(
            f"{adapter.weights} holds no LoRA factors; its keys are e.g. {list(adapter.tensors)[:3]}."
        )
    at = positions(list(stored))
    order = sorted(stored, key=lambda name: _depth(at[name].block))

    def read(name: str) -> LowRank:
        own = stored[name]
        A, B = (read_tensor(adapter.weights, own.keys[kind]) for kind in "AB")
        return replace(own, A=A, B=B).product

    return _Source({name: stored[name].shape for name in order}, read, options.base)


def _on_base(member: Member, source: _Source, weights: WeightFolder) -> _Source:
    """The same changes under the base's names, each of the base's shape."""
    pairs, _, missing = aligned(weights.files, source.shapes)
    if missing:
        raise ValueError(
            f"member {member.name!r} changes {missing[0]!r} ({len(missing)} such matrices), which {weights.path} does "
            "not have; it was trained on another PLM."
        )
    at = positions(list(source.shapes), architecture_in(weights))
    for name, shape in source.shapes.items():
        own = weights.entries[pairs[name]].shape
        if _oriented(own, at[name].transposed) != shape:
            raise ValueError(
                f"member {member.name!r}: matrix {name!r} has shape {shape}, and {own} in {weights.path}; it was "
                "trained on another PLM."
            )
    names = {pairs[name]: name for name in source.shapes}
    return _Source({b: source.shapes[n] for b, n in names.items()}, lambda b: source.read(names[b]), source.base)


def _require_one_base(members: tuple[Member, ...], sources: list[_Source]) -> None:
    named = [(member.name, source.base) for member, source in zip(members, sources, strict=True) if source.base]
    for name, base in named:
        if Path(base).name.lower() != Path(named[0][1]).name.lower():
            raise ValueError(
                f"{named[0][0]!r} was made for {named[0][1]!r}, {name!r} for {base!r}: changes of different PLMs have "
                "no common subspace."
            )


def base_matrices(collection: Collection, base: Source) -> Callable[[str], Tensor]:
    """Name of a matrix -> W₀ (m, n) in float64, read on demand.

    Raises:
        ValueError: the base lacks a matrix of the collection, or holds quantised weights.
    """
    weights = open_weights(base)
    if weights.quantised:
        raise ValueError(f"{weights.path} holds weights quantised by {weights.quantised!r}; give the unquantised PLM.")
    pairs, _, missing = aligned(weights.files, collection.shapes)
    if missing:
        raise ValueError(f"{weights.path} has no {missing[0]!r}; it is not the PLM of this collection.")
    at = positions(list(collection.shapes), architecture_in(weights))

    def read(name: str) -> Tensor:
        stored = weights.tensor(pairs[name]).to(torch.float64)
        return stored.T if at[name].transposed else stored

    return read


def _shape(change: Change) -> tuple[int, int]:
    return change.shape[0], change.shape[1]


def _oriented(shape: tuple[int, ...], transposed: bool) -> tuple[int, int]:
    return (shape[1], shape[0]) if transposed else (shape[0], shape[1])


def _depth(block: int | None) -> int:
    return -1 if block is None else block
