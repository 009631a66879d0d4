"""Every delta method that is compared, and where the search of its step size starts."""

from __future__ import annotations

from lab.deltas import (
    DID,
    IA3,
    METHODS,
    SAID,
    Adapter,
    AddedBias,
    BitFit,
    DeltaMethod,
    DiffPruning,
    FullFineTuning,
    LastLayer,
    LinearProbe,
    LoRA,
    Mask,
    Prefix,
    Prompt,
    SelectiveModule,
)
from lab.study.materials import without_biases

FURTHER = 3e-3
"""Where the grid of step sizes starts for methods that are not named here: LoRA's."""


def compared_methods(
    model: str, *, head_lr: float, prompt_tokens: int, dimension: int
) -> dict[str, tuple[DeltaMethod, float]]:
    """Label -> the method and the step size its grid starts from.

    Every method of `METHODS` but for the nearest kin: SAID (of DID), and of BitFit and added biases the one that the
    PLM's family has a use for. Settings are those of `lab.deltas.presets.delta_tuning_study`, but for the prompt's
    length. The last two are the slowest: a step that touches all weights through a projection, or through as many
    gates.

    Args:
        model: name for `load_plm`.
        head_lr: where the linear probe's grid starts.
        prompt_tokens: length of the prompt.
        dimension: of DID's subspace.
    """
    biases: tuple[str, DeltaMethod] = ("BitFit", BitFit())
    if without_biases(model):
        biases = ("added biases", AddedBias())
    named: dict[str, tuple[DeltaMethod, float]] = {
        "full fine-tuning": (FullFineTuning(), 1e-4),
        "linear probe": (LinearProbe(), head_lr),
        "LoRA": (LoRA(rank=8), 3e-3),
        "adapter": (Adapter(bottleneck=64, activation="silu", placement="houlsby"), 1e-3),
        "prefix": (Prefix(tokens=5), 1e-2),
        "prompt": (Prompt(tokens=prompt_tokens), 3e-2),
        biases[0]: (biases[1], 3e-3),
        "IA3": (IA3(), 1e-2),
        "last layer": (LastLayer(), 3e-4),
        "random modules": (SelectiveModule(), 3e-4),
        "mask": (Mask(), 1e-3),
        "DID": (DID(dimension=dimension, head="free"), 3e-1),
        "diff pruning": (DiffPruning(), 1e-4),
    }
    known = {SAID, BitFit, AddedBias, *(type(method) for method, _ in named.values())}
    return named | {method().title: (method(), FURTHER) for method in METHODS if method not in known}
