"""The text's positions, moved on by a prefix in front of it: what a key-value cache of that length does."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lab.deltas.prefixed_attention import prefix_length, relative_bias
from lab.deltas.soft_tokens import require_positions
from lab.models.numbering import learned_positions


def move_text(model: nn.Module, base: str, tokens: int, attention: str) -> None:
    """Let the text of an encoder or decoder start at position `tokens` (later, with several prefixes).

    Args:
        model: a structural copy.
        base: path of its base model.
        tokens: length of this prefix.
        attention: path of a module that carries it; all prefixes there count against the model's positions.
    """
    inner = attention[len(base) + 1 :] if base else attention
    found = model.get_submodule(base)
    found.register_forward_pre_hook(_numbered_after(tokens, inner, learned_positions(found)), with_kwargs=True)


def move_decoder(model: nn.Module, base: str, tokens: int, attention: str) -> None:
    """The same for the decoder of an encoder-decoder: its table of positions (BART), or its relative ones (T5)."""
    decoder = model.get_submodule(f"{base}.decoder" if base else "decoder")
    tables = [module for name, module in decoder.named_modules() if name.endswith("embed_positions")]
    for table in tables:
        table.register_forward_pre_hook(_moved_table(tokens, learned_positions(decoder)), with_kwargs=True)
    for module in decoder.modules():
        if prefix_length(module) and "relative_attention_bias" in vars(module)["_modules"]:
            module.register_forward_hook(_wide_bias)


def _numbered_after(tokens: int, attention: str, limit: int | None) -> Any:
    def hook(base: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        inputs = [x for x in (*args[:1], kwargs.get("input_ids"), kwargs.get("inputs_embeds")) if x is not None]
        length = inputs[0].shape[1]
        if limit is not None:
            require_positions(limit, prefix_length(base.get_submodule(attention)), length, "prefix")
        positions = kwargs.get("position_ids")
        if positions is None:
            positions = torch.arange(length, device=inputs[0].device)[None]
        return args, {**kwargs, "position_ids": positions + tokens}

    return hook


def _moved_table(tokens: int, limit: int | None) -> Any:
    def hook(
        _table: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if limit is not None:
            require_positions(limit, tokens, kwargs["position_ids"].shape[-1], "prefix")
        return args, {**kwargs, "position_ids": kwargs["position_ids"] + tokens}

    return hook


def _wide_bias(attention: nn.Module, _args: tuple[Any, ...], output: tuple[Any, ...]) -> tuple[Any, ...]:
    """Hands the bias over the prefix and the text to the blocks that share this one's table."""
    states, bias, *further = output
    wide = relative_bias(attention, bias)
    return (states, wide, *further)
