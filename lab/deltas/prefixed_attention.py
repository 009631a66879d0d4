"""Attention with trained keys and values in front of the computed ones, through transformers' attention interface.

transformers looks the attention function up by the name in `config._attn_implementation`. A host with prefixes has its
own name there ("deltalab_eager_prefix", "deltalab_sdpa_prefix"); the function prepends what it finds in the calling
module and delegates. The name needs its mask function registered too, else transformers passes no causal mask at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from lab.deferred import transformers
from lab.models.attention import EAGER, SDPA, additive_mask, eager_attention, safe_sdpa_mask, sdpa_attention

_SUFFIX = "_prefix"


class PrefixTokens(nn.Module):
    """Keys and values (tokens, key-value heads · head dimension) of one attention module.

    Args:
        key, value: at φ₀.
        positioned: they stand at the positions before the text, to a relative bias too (T5); else their bias is 0.
        windowed: a sliding window (Mistral, Gemma 2) reaches no further back into them than into the text; else every
            token of the text sees them.
    """

    def __init__(self, key: Tensor, value: Tensor, *, positioned: bool = False, windowed: bool = False):
        super().__init__()
        self.positioned, self.windowed = positioned, windowed
        self.key = nn.Parameter(key)
        self.value = nn.Parameter(value)


def prefixes_of(attention: nn.Module) -> list[PrefixTokens]:
    """The prefixes grafted on an attention module, in the order of its columns."""
    return [child for child in attention.children() if isinstance(child, PrefixTokens)]


def prefix_length(attention: nn.Module) -> int:
    """Tokens in front of an attention module's own keys."""
    return sum(prefix.key.shape[0] for prefix in prefixes_of(attention))


def relative_bias(attention: Any, bias: Tensor) -> Tensor:
    """T5's relative bias (1, heads, q, prefix + q) of a decoder whose prefix stands at the positions before the text.

    Args:
        attention: the self-attention module that holds the table.
        bias: over the text alone, (1, heads, q, q).
    """
    n, length = prefix_length(attention), bias.shape[-2]
    return attention.compute_bias(length, n + length, device=bias.device, past_seen_tokens=n)


def use_prefixes(model: nn.Module, *, eager: bool = False) -> None:
    """Let the attention modules of a structural copy see their prefixes; `eager` also makes them return their weights.

    Raises:
        ValueError: the model uses an attention implementation other than those of `lab.models`.
    """
    configs = {
        id(c): c for m in model.modules() for c in vars(m).values() if isinstance(c, transformers.PreTrainedConfig)
    }
    for config in configs.values():
        original = EAGER if eager else str(config._attn_implementation).removesuffix(_SUFFIX)
        if original not in _ATTENTION:
            raise ValueError(
                f"prefixes need attention {EAGER!r} or {SDPA!r}; this model uses {original!r}. Load it with "
                'load_plm(…, attention="eager") or attention="sdpa".'
            )
        transformers.AttentionInterface.register(original + _SUFFIX, _prefixed(_ATTENTION[original]))
        transformers.AttentionMaskInterface.register(original + _SUFFIX, _MASK[original])
        config._attn_implementation = original + _SUFFIX


def _prefixed(attend: Callable[..., tuple[Tensor, Any]]) -> Callable[..., tuple[Tensor, Any]]:
    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, Any]:
        found = prefixes_of(module)
        if found:
            n_tokens = prefix_length(module)
            key = torch.cat([*(_by_head(prefix.key, key) for prefix in found), key], dim=-2)
            value = torch.cat([*(_by_head(prefix.value, value) for prefix in found), value], dim=-2)
            attention_mask = _widened(attention_mask, n_tokens)
            window = kwargs.get("sliding_window")
            if window is not None and any(prefix.windowed for prefix in found):
                attention_mask = _out_of_sight(attention_mask, found, query, window)
            bias = kwargs.get("position_bias")
            if bias is not None and bias.shape[-1] < key.shape[-2]:
                positioned = found[0].positioned
                kwargs["position_bias"] = relative_bias(module, bias) if positioned else _widened(bias, n_tokens)
        return attend(module, query, key, value, attention_mask, **kwargs)

    return attention


def _by_head(tokens: Tensor, like: Tensor) -> Tensor:
    """(tokens, heads · head_dim) -> (batch, heads, tokens, head_dim), with `like`'s batch and (GQA: fewer) heads."""
    batch, heads, _, head_dim = like.shape
    split = tokens.reshape(tokens.shape[0], heads, head_dim).transpose(0, 1)
    return split.to(like.dtype).expand(batch, heads, tokens.shape[0], head_dim)


def _widened(mask: Tensor | None, n_tokens: int) -> Tensor | None:
    """A mask or bias (…, q, k) with n more columns in front that leave the scores as they are."""
    if mask is None:
        return None
    return nn.functional.pad(mask, (n_tokens, 0), value=mask.dtype == torch.bool)


def _out_of_sight(mask: Tensor | None, found: list[PrefixTokens], query: Tensor, window: int) -> Tensor:
    """The widened mask without the prefix tokens that stand `window` positions or more before a token of the text."""
    length, total = query.shape[-2], sum(prefix.key.shape[0] for prefix in found)
    windowed = [torch.full(prefix.key.shape[:1], prefix.windowed, device=query.device) for prefix in found]
    distance = torch.arange(length, device=query.device)[:, None] - torch.arange(-total, length, device=query.device)
    hidden = (distance >= window) & nn.functional.pad(torch.cat(windowed), (0, length))  # (q, prefix + q)
    if mask is None:
        mask = query.new_zeros(1, 1, *hidden.shape)
    if mask.dtype == torch.bool:
        return mask & ~hidden
    return torch.where(hidden, torch.finfo(mask.dtype).min, mask)


def _explicit_sdpa_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """transformers' SDPA mask, but a causal mask is always built: with a prefix the kernel's own would be shifted."""
    kwargs["allow_is_causal_skip"] = False
    return safe_sdpa_mask(*args, **kwargs)


_ATTENTION: Mapping[str, Callable[..., Any]] = MappingProxyType({EAGER: eager_attention, SDPA: sdpa_attention})
_MASK: Mapping[str, Callable[..., Any]] = MappingProxyType({EAGER: additive_mask, SDPA: _explicit_sdpa_mask})
