"""ΔW of a peft checkpoint whose layers are peft's own (LoHa, LoKr, (IA)³, OFT, …): merged weights minus W₀."""

from __future__ import annotations

import json

import torch
from torch import Tensor

from lab.checkpoints.adapter_folder import BASE, AdapterFolder
from lab.checkpoints.error import CheckpointError
from lab.deltas.peft import PeftMethod, peft_library
from lab.deltas.peft_layers import FAULTS, inject, parameters_of
from lab.deltas.peft_prompts import PREFIXES, PROMPTS
from lab.deltas.peft_targets import without_saved
from lab.models import PLM


def require_weights(checkpoint: AdapterFolder) -> None:
    """Raise for prompts and prefixes."""
    if checkpoint.kind in (*PROMPTS, *PREFIXES):
        raise CheckpointError(
            f"{checkpoint.source} is a {checkpoint.kind} adapter: it adds tokens and changes no weight."
        )


@torch.no_grad()
def merged_differences(plm: PLM, checkpoint: AdapterFolder) -> tuple[dict[str, Tensor], list[tuple[str, str]]]:
    """What a checkpoint's layers add to the weights they wrap: W_merged − W₀ by peft's own `merge`.

    Args:
        plm: the PLM it was trained on, in float64 for differences to about 1e-7 (peft keeps its factors in float32).
        checkpoint: of any peft type whose layers can be merged.

    Returns:
        Name of the parameter -> its change, as stored; and (tensor, reason) of what is changed and left out.

    Raises:
        ValueError: prompts and prefixes, which change no weight; layers that cannot be merged; missing tensors or
            another shape; a merged weight that is not finite.
        ImportError: peft is not installed.
    """
    kind = checkpoint.kind
    require_weights(checkpoint)
    options = without_saved(checkpoint.config, [path for path, _ in plm.model.named_modules() if path])
    peft = peft_library()
    try:
        injection = inject(plm, PeftMethod(json.dumps(options, sort_keys=True)).config(), peft, seed=0)
    except FAULTS as error:
        raise CheckpointError(f"{checkpoint.options} does not fit {plm.name!r}: {error}") from error
    excluded = []
    for key in checkpoint.tensors:
        if key not in injection.stored:
            if key.removeprefix(BASE) not in plm.parameters:
                raise CheckpointError(f"{checkpoint.weights} does not fit this PLM: tensor {key!r} is unexpected.")
            excluded.append((key, "a saved module or trained bias"))
    for key, place in injection.stored.items():
        if key not in checkpoint.tensors or checkpoint.tensors[key].shape != place.shape:
            got = tuple(checkpoint.tensors[key].shape) if key in checkpoint.tensors else "nothing"
            raise CheckpointError(f"{checkpoint.weights}: expected {key!r} of shape {tuple(place.shape)}; got {got}.")
        if checkpoint.tensors[key].is_floating_point() != place.is_floating_point():
            raise CheckpointError(
                f"{checkpoint.weights}: tensor {key!r} is stored as {checkpoint.tensors[key].dtype}, but peft keeps it "
                f"as {place.dtype}: quantised weights. Give the unquantised adapter."
            )
        place.copy_(checkpoint.tensors[key])  # shares the layers' memory
    merged = dict(injection.native)  # biases that the adapter trains directly have their values already
    for path, layer in injection.layers.items():
        try:
            for part in parameters_of(layer).values() or (layer,):
                part.merge(safe_merge=True)
        except (NotImplementedError, *FAULTS) as error:
            why = error if hasattr(layer, "merge") else "it changes no weight"
            raise CheckpointError(f"peft cannot merge the {kind} layer {path!r}, so it has no ΔW: {why}.") from error
        merged |= {f"{path}.{name}": value for name, value in layer.get_base_layer().named_parameters()}
    differences: dict[str, Tensor] = {}
    for name, value in merged.items():
        if value.ndim == 2 and name.removesuffix(".weight") in injection.layers:
            difference = value - plm.model.get_parameter(name)  # of a tied head, too
            twin = next(
                (n for n, found in differences.items() if _tied(plm, name, n) and difference.equal(found)), None
            )
            if twin is None:
                differences[name] = difference
            else:
                excluded.append((name, f"tied: the same numbers as {twin}, counted once"))
        elif name not in plm.parameters or not torch.equal(value, plm.parameters[name]):
            excluded.append((name, "vector" if value.ndim < 2 else f"no matrix: shape {tuple(value.shape)}"))
    return differences, excluded


def _tied(plm: PLM, one: str, other: str) -> bool:
    return plm.model.get_parameter(one) is plm.model.get_parameter(other)
