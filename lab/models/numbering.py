"""How a model numbers the tokens of a text: its table of positions, and models that number by the padding token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_TABLES = ("position_embeddings", "embed_positions", "wpe")


def last_unnumbered(model: nn.Module) -> int | None:
    """p where the tokens of a text have the positions p + 1, p + 2, … and padding has p; None where they begin at 0.

    RoBERTa, MPNet and their like find the padding by its token, p, which must be right in `config.json` and may not
    occur in a text. `numbered` takes the mask instead.
    """
    for module in model.modules():
        own = vars(module)
        if "padding_idx" in own and "position_embeddings" in own["_modules"] and not isinstance(module, nn.Embedding):
            return -1 if own["padding_idx"] is None else int(own["padding_idx"])
    return None


def numbered(mask: Tensor, before: int) -> Tensor:
    """Position ids (batch, seq) by the attention mask: before + 1, before + 2, …, and `before` (or 0) for padding."""
    real = mask.ne(0).to(torch.int64)
    return (real.cumsum(-1) * real + before).clamp(min=0)


def learned_positions(base: nn.Module) -> int | None:
    """How many tokens a model with a table of absolute positions can take; None for relative and rotary positions.

    Rotary frequencies that change with the length of the longest text of a batch ("dynamic", "longrope") end where they
    first do: beyond, a text's logits depend on its neighbours.

    Args:
        base: the model, or a part of it; the shortest table inside counts.
    """
    found = [_capacity(base, path, module) for path, module in base.named_modules() if _is_table(path, module)]
    return min([*found, *_unchanged_frequencies(base)], default=None)


def _unchanged_frequencies(base: nn.Module) -> list[int]:
    """The longest text that leaves the rotary frequencies as they are, for each part that scales them by the length."""
    found = []
    for module in base.modules():
        config: Any = vars(module).get("config")
        rope = getattr(config, "rope_parameters", None)
        if "inv_freq" not in module._buffers or not isinstance(rope, dict):
            continue
        for kind in (rope, *(kind for kind in rope.values() if isinstance(kind, dict))):  # one, or one a type of layer
            if kind.get("rope_type") == "dynamic":
                found.append(int(config.max_position_embeddings))
            if kind.get("rope_type") == "longrope":
                found.append(int(kind["original_max_position_embeddings"]))
    return found


def _is_table(path: str, module: nn.Module) -> bool:
    return path.rpartition(".")[2] in _TABLES and isinstance(module, nn.Embedding)


def _capacity(base: nn.Module, path: str, table: Any) -> int:
    offset = vars(table).get("offset", 0)  # BART and OPT leave the first rows empty
    before = last_unnumbered(base.get_submodule(path.rpartition(".")[0]))
    return table.num_embeddings - offset - (0 if before is None else before + 1)
