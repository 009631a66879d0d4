"""From what a person names, a base and what was made of it, to weight changes."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lab.checkpoints.adapter_folder import CONFIG, WEIGHTS
from lab.checkpoints.error import CheckpointError
from lab.checkpoints.folder import CONFIG as MODEL_CONFIG
from lab.checkpoints.folder import expanded
from lab.checkpoints.sizes import check_sizes
from lab.geometry.adapters import adapter_changes
from lab.geometry.folders import folder_changes
from lab.geometry.weight_changes import WeightChanges
from lab.models.folders import open_weights
from lab.models.in_memory import Source, adapter_on_disk, base_on_disk, is_peft, model_on_disk
from lab.models.layers import Layer, adaptable_layers


def changes_between(
    base: Source | None, tuned: Source, *, adapter: bool | None = None, allow_missing: str | None = None
) -> WeightChanges:
    """The weight changes of a peft adapter, or of a tuned model against its base.

    Args:
        base: as for `open_weights`; None is enough for LoRA and rsLoRA, at the cost of norms relative to W₀.
        tuned: folder of an adapter, or of a model, or a safetensors file, or a packaged name or hub id; or a model in
            memory, of transformers or of peft. Of a PeftModel the change is that of its active adapters, and its base
            is the model below them, unless `base` is given.
        adapter: whether `tuned` is an adapter. Default: a folder is one iff it holds `adapter_config.json`; anything
            that is no path is taken for a model.
        allow_missing: as in `folder_changes`.

    Raises:
        CheckpointError, ValueError, FileNotFoundError, OSError: as `adapter_changes` and `folder_changes`.
        TypeError, ValueError: a model in memory that cannot be read (`lab.models.in_memory`).
    """
    if isinstance(tuned, nn.Module):
        return _changes_in_memory(base, tuned, allow_missing)
    folder = expanded(tuned)
    if (
        adapter is not False
        and folder.name in (CONFIG, WEIGHTS)
        and all((folder.parent / f).is_file() for f in (CONFIG, WEIGHTS))
    ):
        folder = folder.parent  # a file of an adapter stands for its folder
    if adapter is None:
        adapter = (folder / CONFIG).is_file()
        if not adapter and (folder / WEIGHTS).is_file():
            raise CheckpointError(
                f"{folder} holds {WEIGHTS} but no {CONFIG}: α and r stand there, and without them the scale of ΔW is "
                "unknown. Copy it from where the adapter was saved."
            )
    if adapter:
        return adapter_changes(folder, base)
    if base is None:
        raise CheckpointError(f"{tuned} is no adapter: a tuned model needs the base it is compared with.")
    return folder_changes(base, tuned, allow_missing=allow_missing)


def _changes_in_memory(base: Source | None, tuned: nn.Module, allow_missing: str | None) -> WeightChanges:
    if not is_peft(tuned):
        if base is None:
            raise CheckpointError(f"{type(tuned).__name__} is no adapter: it needs the base that it is compared with.")
        return folder_changes(base, model_on_disk(tuned), allow_missing=allow_missing)
    below = base_on_disk(tuned) if base is None else base
    adapter = adapter_on_disk(tuned)
    if adapter is None:  # several are active: their sum
        return folder_changes(below, model_on_disk(tuned), allow_missing=allow_missing)
    return adapter_changes(adapter, below)


def adaptable(base: str | Path | None, tuned: str | Path) -> dict[str, Layer] | None:
    """What peft can adapt in the model that two sources are of (`lab.models.layers`); None where neither says.

    The tuned folder goes first: the changes have its names.

    Raises:
        CheckpointError: a config.json asks for sizes that the weights beside it do not have.
    """
    for source in (tuned, base):
        opened = None if source is None or (expanded(source) / CONFIG).is_file() else open_weights(source)
        if opened is None or not opened.config:
            continue
        file = opened.path / MODEL_CONFIG
        check_sizes(file, opened.config, opened.entries)
        found = adaptable_layers(file, opened.config)
        if found is not None:
            return found
    return None
