"""Which modules of a model hold a weight that peft can put a LoRA on, told from its configuration alone."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from lab.checkpoints.error import CheckpointError
from lab.deferred import transformers
from lab.models.checkpoint import configuration
from lab.models.quiet import quiet

Layer = Literal["linear", "embedding"]


def adaptable_layers(file: Path, entries: Mapping[str, Any]) -> dict[str, Layer] | None:
    """Module path -> kind, of every linear map and look-up table of the model that a `config.json` describes.

    The model is built without memory. A table that is tied with a head is left out: peft would change it for the
    look-up alone, until it is merged. A mixture's experts are one tensor and no layers; they are not among them.

    Args:
        file: the configuration's, for messages.
        entries: what it holds.

    Returns:
        None where no model can be built from it: then nothing is known of its layers.
    """
    if entries.get("model_type") not in transformers.CONFIG_MAPPING:
        return None
    try:
        config = configuration(file, dict(entries))
        with torch.device("meta"), quiet():
            model = _class_of(config, entries)._from_config(deepcopy(config))
            model.tie_weights()
    except (CheckpointError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return None
    tied = {name for pair in model.all_tied_weights_keys.items() for name in pair}
    users: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        users[id(parameter)] = users.get(id(parameter), 0) + 1
    found: dict[str, Layer] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
            found[path] = "linear"
        elif isinstance(module, nn.Embedding) and users[id(module.weight)] == 1 and f"{path}.weight" not in tied:
            found[path] = "embedding"
    return found


def _class_of(config: Any, entries: Mapping[str, Any]) -> Any:
    """The class that wrote the folder, where transformers has it; else that of the base model."""
    named = next(iter(entries.get("architectures") or ()), None)
    mappings = (
        transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, transformers.MODEL_FOR_CAUSAL_LM_MAPPING,
        transformers.MODEL_FOR_MASKED_LM_MAPPING, transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
        transformers.MODEL_FOR_QUESTION_ANSWERING_MAPPING, transformers.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    )  # fmt: skip
    known = [mapping[type(config)] for mapping in mappings if type(config) in mapping]
    return next((cls for cls in known if cls.__name__ == named), transformers.MODEL_MAPPING[type(config)])
