"""From what a person names, a base and what was made of it, to weight changes."""

from __future__ import annotations

from pathlib import Path

from lab.checkpoints.adapter_folder import CONFIG, WEIGHTS
from lab.checkpoints.error import CheckpointError
from lab.checkpoints.folder import CONFIG as MODEL_CONFIG
from lab.checkpoints.folder import expanded
from lab.geometry.adapters import adapter_changes
from lab.geometry.folders import folder_changes
from lab.geometry.weight_changes import WeightChanges
from lab.models.folders import open_weights
from lab.models.layers import Layer, adaptable_layers


def changes_between(
    base: str | Path | None, tuned: str | Path, *, adapter: bool | None = None, allow_missing: str | None = None
) -> WeightChanges:
    """The weight changes of a peft adapter, or of a tuned model against its base.

    Args:
        base: as for `open_weights`; None is enough for LoRA and rsLoRA, at the cost of norms relative to W₀.
        tuned: folder of an adapter, or of a model, or a safetensors file, or a packaged name or hub id.
        adapter: whether `tuned` is an adapter. Default: a folder is one iff it holds `adapter_config.json`; anything
            that is no path is taken for a model.
        allow_missing: as in `folder_changes`.

    Raises:
        CheckpointError, ValueError, FileNotFoundError, OSError: as `adapter_changes` and `folder_changes`.
    """
    folder = expanded(tuned)
    if adapter is None:
        adapter = (folder / CONFIG).is_file()
        if not adapter and (folder / WEIGHTS).is_file():
            raise CheckpointError(
                f"{folder} holds {WEIGHTS} but no {CONFIG}: α and r stand there, and without them the scale of ΔW is "
                "unknown. Copy it from where the adapter was saved."
            )
    if adapter:
        return adapter_changes(tuned, base)
    if base is None:
        raise CheckpointError(f"{tuned} is no adapter: a tuned model needs the base it is compared with.")
    return folder_changes(base, tuned, allow_missing=allow_missing)


def adaptable(base: str | Path | None, tuned: str | Path) -> dict[str, Layer] | None:
    """What peft can adapt in the model that two sources are of (`lab.models.layers`); None where neither says.

    The tuned folder goes first: the changes have its names.
    """
    for source in (tuned, base):
        opened = None if source is None or (expanded(source) / CONFIG).is_file() else open_weights(source)
        found = adaptable_layers(opened.path / MODEL_CONFIG, opened.config) if opened and opened.config else None
        if found is not None:
            return found
    return None
