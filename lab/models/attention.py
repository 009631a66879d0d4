"""Attention for analyses: transformers' eager formula, in the tensors' own precision and safe under `torch.func`.

Two things in transformers' own eager attention stand in the way of a theory check (transformers 5.23). Llama and Gemma
take the softmax in float32 even in a float64 model, which caps every identity at 1e-7. And the mask of an encoder is
skipped when it holds no padding, a data-dependent test that fails under `vmap` over examples. In float32 the logits are
the same bits as with transformers' "eager".
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import transformers  # its names load their modules on first use
from torch import Tensor, nn

Attention = Literal["eager", "sdpa"]

EAGER = "deltalab_eager"
"""The name under which transformers knows `eager_attention`, in `config._attn_implementation`."""


def implementation(attention: Attention) -> str:
    """The value of `config._attn_implementation` for "eager" (all of `torch.func`) or "sdpa" (fast; reverse mode only).

    Raises:
        ValueError: another name.
    """
    if attention == "sdpa":
        return "sdpa"
    if attention != "eager":
        raise ValueError(
            f'attention must be "eager" (every transform of torch.func) or "sdpa" (faster); got {attention!r}.'
        )
    transformers.AttentionInterface.register(EAGER, eager_attention)
    transformers.AttentionMaskInterface.register(
        EAGER, additive_mask
    )  # without it transformers would pass no mask at all
    return EAGER


def eager_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """softmax(s·QKᵀ + bias + mask)·V per head.

    Args:
        module: the attention module that calls; unused but for its training flag.
        query: (batch, heads, q, head_dim).
        key: (batch, key_value_heads, k, head_dim); fewer heads than `query` are shared by groups (GQA).
        value: like `key`.
        attention_mask: additive, broadcastable to (batch, heads, q, k); None for no mask.
        scaling: s; default 1/√head_dim.
        position_bias: T5's relative bias (1, heads, q, k).
        softcap: Gemma 2's c: scores become c·tanh(scores/c) before the mask.

    Returns:
        (batch, q, heads, head_dim) and the attention weights (batch, heads, q, k).
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = torch.matmul(query, key.transpose(2, 3)) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.promote_types(query.dtype, torch.float32))
    weights = nn.functional.dropout(weights.to(query.dtype), p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def additive_mask(*args: Any, **kwargs: Any) -> Tensor:
    """transformers' mask for eager attention (0 or the dtype's least number), built whether or not there is padding."""
    kwargs["allow_is_bidirectional_skip"] = False
    return transformers.masking_utils.eager_mask(*args, **kwargs)


def attention_of(model: Any) -> Attention:
    """Which attention a model was built with."""
    return "sdpa" if model.config._attn_implementation == "sdpa" else "eager"
