"""Sizes in a config.json against the weights beside it: a file of 1 KB can ask for a model of any size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.checkpoints.error import CheckpointError
from lab.checkpoints.safetensors_file import Entry

# of which a model makes a module or a label each, before any tensor is looked at
DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_decoder_layers", "num_encoder_layers",
          "encoder_layers", "decoder_layers", "num_hidden_groups", "inner_group_num")  # fmt: skip
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
CHOSEN = ("num_experts_per_tok", "top_k_experts")  # of the experts, by a mixture's router for each token
PARTS = ("rotary_pct", "partial_rotary_factor")  # of the width of a head
LABELS = "num_labels"
WIDTHS = ("vocab_size", "hidden_size", "d_model", "n_embd", "dim", "intermediate_size", "n_inner", "d_ff", "ffn_dim",
          "d_kv", "head_dim", "num_attention_heads", "num_key_value_heads", "n_head", "n_heads", "num_heads",
          "max_position_embeddings", "n_positions")  # fmt: skip

MOST_BLOCKS = 256  # may share their weights (ALBERT), so that a file shows fewer
MOST_LABELS = 1 << 16  # of a head that the file does not hold
SLACK = 1 << 26  # numbers of new heads and computed buffers beside twice those of the file

_BLOCK = re.compile(r"\.(\d{1,9})(?=\.)")


def check_sizes(file: Path, config: Mapping[str, Any], weights: Mapping[str, Entry]) -> None:
    """Raise unless the sizes that a config.json names can belong to its weights.

    Args:
        file: the config.json, for the message.
        config: its entries.
        weights: name -> entry of the header.

    Raises:
        CheckpointError: a size is no whole number from 1 on, or far above what the weights hold.
    """
    blocks = 1 + max((int(n) for name in weights for n in _BLOCK.findall(name)), default=0)
    longest = max((n for entry in weights.values() for n in entry.shape), default=0)
    for name in (*DEPTHS, *EXPERTS, *WIDTHS, LABELS):
        value = config.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CheckpointError(f"{file}: {name} is {str(value)[:40]!r}; expected a whole number from 1 on.")
        most = max(blocks, MOST_BLOCKS) if name in DEPTHS + EXPERTS else max(longest, MOST_LABELS)
        if value > most and name not in WIDTHS:  # a width is compared when the shapes are known
            held = f"blocks up to number {blocks - 1}" if name in DEPTHS + EXPERTS else f"no dimension above {longest}"
            raise CheckpointError(
                f"{file}: {name} is {value:,}, but the weights have {held}; configuration and weights do not belong "
                "together."
            )
    experts = min((config[name] for name in EXPERTS if config.get(name) is not None), default=None)
    for name in CHOSEN:
        value = config.get(name)
        if value is not None and experts is not None and not (type(value) is int and 1 <= value <= experts):
            raise CheckpointError(
                f"{file}: {name} is {str(value)[:40]!r}; expected 1 to {experts}, the experts there are."
            )
    for name in PARTS:
        value = config.get(name)
        if value is not None and not (type(value) in (int, float) and 0 <= value <= 1):
            raise CheckpointError(f"{file}: {name} is {str(value)[:40]!r}; expected a part, from 0 to 1.")


def check_total(file: Path, shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, Entry]) -> None:
    """Raise if a model that is about to be built has far more numbers than its weights.

    Args:
        file: the config.json, for the message.
        shapes: parameter or buffer -> shape, of a model without memory.
        weights: name -> entry of the header.
    """
    asked = {name: Entry("", tuple(shape)).size for name, shape in shapes.items()}
    held = sum(entry.size for entry in weights.values())
    if sum(asked.values()) > 2 * held + SLACK:
        name = max(asked, key=asked.__getitem__)
        raise CheckpointError(
            f"{file} asks for a model of {sum(asked.values()):,} numbers ({name!r} alone has shape "
            f"{tuple(shapes[name])}), but the weights hold {held:,}; configuration and weights do not belong together."
        )
