"""Two folders of weights, base and tuned, compared tensor by tensor: never both models in memory."""

from __future__ import annotations

import re

import torch

from lab.checkpoints.error import CheckpointError
from lab.checkpoints.folder import WeightFolder
from lab.checkpoints.names import EMBEDDINGS, HEADS, aligned
from lab.checkpoints.safetensors_file import FLOATS
from lab.geometry.weight_changes import WeightChange, WeightChanges
from lab.models.folders import open_weights
from lab.models.in_memory import Source
from lab.models.positions import Position, architecture_in, positions

_UNMERGED = re.compile(r"\.base_layer\.|\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)\b|\.modules_to_save\.")


def folder_changes(base: Source, tuned: Source, *, allow_missing: str | None = None) -> WeightChanges:
    """ΔW = W_tuned − W_base of every weight matrix that two checkpoints of one model share.

    Names are matched exactly, or after one common prefix ("bert.", "model."). Heads and poolers that only one of them
    has are excluded; vectors are excluded, and buffers (position_ids, masks), which are no weights; anything else that
    does not match is an error, since a renamed matrix would otherwise vanish from every table. Of an
    embedding whose vocabulary was resized the common rows are compared.

    Args:
        base: W₀, as for `open_weights`: folder, safetensors file, packaged name, hub id.
        tuned: the tuned weights, likewise.
        allow_missing: regular expression of further names that may be missing on one side.

    Raises:
        CheckpointError: nothing matches, the model types differ, adapter layers that are not merged, a matrix is
            missing or has another shape, weights are quantised; NaN or Inf in a vector; while reading: a damaged file,
            NaN or Inf. Messages name file, tensor and index.
    """
    try:
        missing = None if allow_missing is None else re.compile(allow_missing)
    except re.error as error:
        raise CheckpointError(f"allow_missing is {allow_missing!r}, no regular expression: {error}.") from error
    before, after = open_weights(base), open_weights(tuned)
    for folder in (before, after):
        if folder.quantised:
            raise CheckpointError(
                f"{folder.path} holds weights quantised by {folder.quantised!r}: their difference would be mostly the "
                "rounding of the quantisation. Compare the unquantised models."
            )
        unmerged = next((name for name in folder.files if _UNMERGED.search(name)), None)
        if unmerged:
            raise CheckpointError(
                f"{folder.path} holds a model with adapter layers in it (tensor {unmerged!r}): give the adapter itself "
                "(`save_pretrained` of the peft model), or merge it first (`merge_and_unload`)."
            )
    if before.model_type and after.model_type and before.model_type != after.model_type:
        raise CheckpointError(
            f"{before.path / 'config.json'} is of model type {before.model_type!r}, {after.path / 'config.json'} of "
            f"{after.model_type!r}; they are not checkpoints of one model."
        )
    pairs, only_before, only_after = aligned(before.files, after.files)
    if not pairs:
        raise CheckpointError(
            f"{before.path} and {after.path} share no tensor name (e.g. {next(iter(before.files), None)!r} against "
            f"{next(iter(after.files), None)!r}); they are not checkpoints of one model."
        )
    excluded = _left_over(before, only_before, "only in the base", after, missing)
    excluded += _left_over(after, only_after, "only in the tuned model", before, missing)
    excluded += [(name, "buffer: no weight") for name in dict.fromkeys((*before.buffers, *after.buffers))]
    names = []
    for name, other in pairs.items():
        shape, shape_before = after.entries[name].shape, before.entries[other].shape
        if shape != shape_before:
            if HEADS.search(name):
                excluded.append((name, f"head of another shape: {shape_before} and {shape}"))
                continue
            if not (EMBEDDINGS.search(name) and shape[1:] == shape_before[1:]):
                raise CheckpointError(
                    f"{after.files[name]}: tensor {name!r} has shape {shape}, but {shape_before} in "
                    f"{before.files[other]}; the tuned model has another base."
                )
            side, rows = ("tuned model", shape[0]) if shape[0] > shape_before[0] else ("base", shape_before[0])
            first = min(shape[0], shape_before[0])
            excluded.append((name, f"rows {first} to {rows - 1}: only in the {side}, a vocabulary of another size"))
        if not shape and after.entries[name].dtype not in FLOATS:
            excluded.append((name, "a count: no weight"))
            continue
        before.storage(other), after.storage(name)  # refuse codes of a quantisation
        if len(shape) == 2:
            names.append(name)
        else:
            for folder, tensor in ((before, other), (after, name)):
                folder.tensor(tensor)  # refuses what is not finite
            excluded.append((name, f"no matrix: shape {shape}"))
    for name, reason in _tied(before, after, pairs, names):
        names.remove(name)
        excluded.append((name, reason))
    places = positions(names, architecture_in(after if after.model_type else before))
    names.sort(key=lambda name: (places[name].block is not None, places[name].block or 0))

    def read(name: str) -> WeightChange:
        return _difference(before, after, pairs[name], name, places[name])

    note = (
        f"the base was dequantised from {before.rounded}: differences are against its rounded weights"
        if before.rounded
        else ""
    )
    return WeightChanges(tuple(names), read, tuple(excluded), note)


def _tied(before: WeightFolder, after: WeightFolder, pairs: dict[str, str], names: list[str]) -> list[tuple[str, str]]:
    """Embeddings and output embeddings stored again: the very numbers of an earlier embedding, in both models."""
    found: list[tuple[str, str]] = []
    kept: list[str] = []
    for name in sorted(filter(lambda n: EMBEDDINGS.search(n) or HEADS.search(n), names), key=_after_embeddings):
        for embedding in kept:
            if after.entries[name].shape == after.entries[embedding].shape:
                same = torch.equal(after.tensor(name), after.tensor(embedding))
                if same and torch.equal(before.tensor(pairs[name]), before.tensor(pairs[embedding])):
                    found.append((name, f"tied: the same numbers as {embedding}, counted once"))
                    break
        else:
            kept.append(name)
    return found


def _after_embeddings(name: str) -> bool:
    return EMBEDDINGS.search(name) is None


def _left_over(
    folder: WeightFolder, names: list[str], reason: str, other: WeightFolder, allow_missing: re.Pattern[str] | None
) -> list[tuple[str, str]]:
    matrices = [
        name
        for name in names
        if len(folder.entries[name].shape) == 2
        and not HEADS.search(name)
        and not (allow_missing and allow_missing.search(name))
    ]
    if matrices:
        raise CheckpointError(
            f"{len(matrices)} matrices are {reason} ({folder.path}), e.g. {matrices[:3]}: missing from "
            f"{other.path}, or renamed. Give the checkpoint this model was tuned from, or name them in allow_missing."
        )
    return [(name, reason) for name in names]


def _difference(before: WeightFolder, after: WeightFolder, base_name: str, name: str, at: Position) -> WeightChange:
    base, tuned = before.tensor(base_name), after.tensor(name)
    common = min(len(base), len(tuned))  # rows of an embedding; equal for all else
    base, tuned = base[:common], tuned[:common]
    storage = coarser(before.storage(base_name), after.storage(name))
    # float64 holds every float32, float16 and bfloat16 difference of one magnitude exactly
    base, difference = base.to(torch.float64), tuned.to(torch.float64, copy=True)
    difference -= base  # in place: two matrices of this size at a time, not three
    if at.transposed:
        base, difference = base.T, difference.T
    return WeightChange(name, at.role, at.block, difference, base, storage, at.transposed)


def coarser(*dtypes: str) -> str:
    """The dtype with the largest spacing, which limits what a difference can show."""
    return max(dtypes, key=lambda dtype: torch.finfo(getattr(torch, dtype)).eps)
