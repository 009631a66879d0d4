"""Two folders of weights, base and tuned, compared tensor by tensor: never both models in memory."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lab.geometry.parameter_names import EMBEDDINGS, HEADS, Position, aligned, positions
from lab.geometry.weight_changes import WeightChange, WeightChanges
from lab.models.checkpoint import CheckpointError, check_finite, weight_files
from lab.models.folders import model_source

FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""dtypes of safetensors whose numbers are weights -> their names in torch; others are codes of a quantisation."""


@dataclass(frozen=True, eq=False)
class WeightFolder:
    """A folder of safetensors (or one such file), known by its headers; tensors are read one at a time.

    Attributes:
        path: the folder or file.
        files: tensor name -> the file that holds it.
        shapes: tensor name -> shape.
        dtypes: tensor name -> dtype as safetensors names it ("F32", "BF16", "U8", …).
        quantised: the method its config.json names, or "".
        rounded: the quantised format its floating-point numbers were converted from, or "".
        model_type: of its config.json, or "".
    """

    path: Path
    files: dict[str, Path]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    quantised: str
    rounded: str = ""
    model_type: str = ""

    def tensor(self, name: str) -> Tensor:
        """One tensor, finite.

        Raises:
            CheckpointError: it cannot be read, or holds NaN or Inf; the message names file, tensor and index.
        """
        file = self.files[name]
        try:
            with safe_open(file, framework="pt") as opened:
                tensor = opened.get_tensor(name)
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{file}: tensor {name!r} cannot be read ({error}).") from error
        check_finite(file, name, tensor)
        return tensor


def open_weights(source: str | Path) -> WeightFolder:
    """The headers of a model folder, of one safetensors file, or of what `load_plm` knows by name.

    Args:
        source: a path, a packaged PLM ("minilm", "smollm2"), or a hub id.

    Raises:
        CheckpointError: no such path, no safetensors in it, a damaged file, or one tensor name in two files.
        ModuleNotFoundError, OSError: a name whose folder is not to be had, as in `load_plm`.
    """
    path, rounded = Path(source), ""
    if not path.exists():
        try:
            path, origin = model_source(source)
        except FileNotFoundError as error:
            raise CheckpointError(f"there is no {path}; give a model folder or a .safetensors file.") from error
        rounded = origin["quantised"] or ""
    files: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    for file in weight_files(path) if path.is_dir() else [path]:
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - the reader is no mapping
                    if name in files:
                        raise CheckpointError(
                            f"tensor {name!r} is in both {files[name]} and {file}; remove one of them."
                        )
                    part = opened.get_slice(name)
                    files[name], shapes[name], dtypes[name] = file, tuple(part.get_shape()), part.get_dtype()
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} is damaged or no safetensors file ({error}); download it again.") from error
    config = _config(path)
    model_type = config.get("model_type")
    return WeightFolder(
        path, files, shapes, dtypes, _quantisation(config), rounded, model_type if isinstance(model_type, str) else ""
    )


def _config(path: Path) -> dict[str, Any]:
    config = path / "config.json"
    if not path.is_dir() or not config.is_file():
        return {}
    try:
        entries = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{config} is not readable JSON ({error}).") from error
    return entries if isinstance(entries, dict) else {}


def _quantisation(config: dict[str, Any]) -> str:
    quantisation = config.get("quantization_config")
    if not quantisation:
        return ""
    return str(quantisation.get("quant_method", "unknown")) if isinstance(quantisation, dict) else "unknown"


def folder_changes(base: str | Path, tuned: str | Path, *, allow_missing: str | None = None) -> WeightChanges:
    """ΔW = W_tuned − W_base of every weight matrix that two checkpoints of one model share.

    Names are matched exactly, or after one common prefix ("bert.", "model."). Heads and poolers that only one of them
    has are excluded; vectors are excluded; anything else that does not match is an error, since a renamed matrix would
    otherwise vanish from every table.

    Args:
        base: W₀, as for `open_weights`: folder, safetensors file, packaged name, hub id.
        tuned: the tuned weights, likewise.
        allow_missing: regular expression of further names that may be missing on one side.

    Raises:
        CheckpointError: nothing matches, the model types differ, a matrix is missing or has another shape, weights are
            quantised; NaN or Inf in a vector; while reading: a damaged file, NaN or Inf. Messages name file, tensor and
            index.
    """
    before, after = open_weights(base), open_weights(tuned)
    for folder in (before, after):
        if folder.quantised:
            raise CheckpointError(
                f"{folder.path} holds weights quantised by {folder.quantised!r}: their difference would be mostly the "
                "rounding of the quantisation. Compare the unquantised models."
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
    excluded = _left_over(before, only_before, "only in the base", after, allow_missing)
    excluded += _left_over(after, only_after, "only in the tuned model", before, allow_missing)
    names = []
    for name, other in pairs.items():
        if after.shapes[name] != before.shapes[other]:
            if HEADS.search(name):
                excluded.append((name, f"head of another shape: {before.shapes[other]} and {after.shapes[name]}"))
                continue
            raise CheckpointError(
                f"{after.files[name]}: tensor {name!r} has shape {after.shapes[name]}, but {before.shapes[other]} in "
                f"{before.files[other]}; the tuned model has another base (or a resized vocabulary)."
            )
        for folder, tensor in ((before, other), (after, name)):
            if folder.dtypes[tensor] not in FLOATS and len(folder.shapes[tensor]) == 2:
                raise CheckpointError(
                    f"{folder.files[tensor]}: tensor {tensor!r} is stored as {folder.dtypes[tensor]}, not as floating "
                    "point: quantised weights. Compare the unquantised models."
                )
        if len(after.shapes[name]) == 2:
            names.append(name)
        else:
            for folder, tensor in ((before, other), (after, name)):
                folder.tensor(tensor)  # refuses what is not finite
            excluded.append((name, f"no matrix: shape {after.shapes[name]}"))
    for name, reason in _tied(before, after, pairs, names):
        names.remove(name)
        excluded.append((name, reason))
    places = positions(names)
    names.sort(key=lambda name: -1 if places[name].block is None else places[name].block)  # type: ignore[arg-type,return-value]

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
            if after.shapes[name] == after.shapes[embedding]:
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
    folder: WeightFolder, names: list[str], reason: str, other: WeightFolder, allow_missing: str | None
) -> list[tuple[str, str]]:
    matrices = [
        name
        for name in names
        if len(folder.shapes[name]) == 2
        and not HEADS.search(name)
        and not (allow_missing and re.search(allow_missing, name))
    ]
    if matrices:
        raise CheckpointError(
            f"{len(matrices)} matrices are {reason} ({folder.path}), e.g. {matrices[:3]}: missing from "
            f"{other.path}, or renamed. Give the checkpoint this model was tuned from, or name them in allow_missing."
        )
    return [(name, reason) for name in names]


def _difference(before: WeightFolder, after: WeightFolder, base_name: str, name: str, at: Position) -> WeightChange:
    base, tuned = before.tensor(base_name), after.tensor(name)
    storage = coarser(FLOATS[before.dtypes[base_name]], FLOATS[after.dtypes[name]])
    # float64 holds every float32, float16 and bfloat16 difference of one magnitude exactly
    base = base.to(torch.float64)
    difference = tuned.to(torch.float64) - base
    if at.transposed:
        base, difference = base.T, difference.T
    return WeightChange(name, at.role, at.block, difference, base, storage)


def coarser(*dtypes: str) -> str:
    """The dtype with the largest spacing, which limits what a difference can show."""
    return max(dtypes, key=lambda dtype: torch.finfo(getattr(torch, dtype)).eps)
