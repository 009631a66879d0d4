"""Attention for analyses: transformers' eager formula, in the tensors' own precision and safe under `torch.func`.

Two things in transformers' own eager attention stand in the way of a theory check (transformers 5.23). Llama and Gemma
take the softmax in float32 even in a float64 model, which caps every identity at 1e-7. And the mask of an encoder is
skipped when it holds no padding, a data-dependent test that fails under `vmap` over examples. In float32 the logits are
the same bits as with transformers' "eager". transformers' SDPA looks into the mask too, and needs the same care.
"""

from __future__ import annotations

import inspect
import sys
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lab.deferred import transformers

Attention = Literal["eager", "sdpa"]

EAGER = "deltalab_eager"
"""The name under which transformers knows `eager_attention`, in `config._attn_implementation`."""

SDPA = "deltalab_sdpa"
"""The name of `sdpa_attention`, transformers' SDPA made safe under `torch.func`."""


def implementation(attention: Attention, model_class: type | None = None) -> str:
    """The value of `config._attn_implementation` for "eager" (in the tensors' own precision) or "sdpa" (fast).

    Args:
        attention: "eager" or "sdpa".
        model_class: the model's. One whose attention is its own code (`has_interface`) is always transformers' "eager";
            one that SDPA cannot compute (gpt-oss) stays "eager" too.

    Raises:
        ValueError: another name.
    """
    if attention not in ("eager", "sdpa"):
        raise ValueError(
            f'attention must be "eager" (every transform of torch.func) or "sdpa" (faster); got {attention!r}.'
        )
    if model_class is not None and not has_interface(model_class):
        return "eager"
    if attention == "sdpa" and getattr(model_class, "_supports_sdpa", True):
        transformers.AttentionInterface.register(SDPA, sdpa_attention)
        transformers.AttentionMaskInterface.register(SDPA, safe_sdpa_mask)
        return SDPA
    transformers.AttentionInterface.register(EAGER, eager_attention)
    transformers.AttentionMaskInterface.register(
        EAGER, additive_mask
    )  # without it transformers would pass no mask at all
    return EAGER


def settle_attention(model: Any) -> None:
    """Give a model with attention of its own the mask of this file, which does not look into the batch.

    Falcon picks the class of its attention by transformers' name for it, so it can be told only once it is built. With
    ALiBi its eager attention (transformers 5.23) takes the slopes twice, of its own accord and from the mask, where its
    SDPA, and the models as they were trained, take them once.
    """
    if has_interface(type(model)):
        return
    model.config._attn_implementation = implementation("eager")
    if model.config.model_type == "falcon" and model.config.alibi:
        for module in model.modules():
            if type(module).__name__ == "FalconAttention":
                module.register_forward_pre_hook(_slopes_of_the_mask_alone, with_kwargs=True)


def _slopes_of_the_mask_alone(_attention: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, {**kwargs, "alibi": torch.zeros_like(kwargs["alibi"])}


def has_interface(model_class: type) -> bool:
    """Whether a model takes its attention from transformers' interface; DeBERTa, MPNet, Falcon and GIT do not.

    GIT's images do, and its texts pick a class of attention from a table by transformers' names.
    """
    names = vars(sys.modules[model_class.__module__])
    tables = (value for value in names.values() if isinstance(value, dict) and isinstance(value.get("eager"), type))
    return "ALL_ATTENTION_FUNCTIONS" in names and not any(tables)


def takes_interface(attention: nn.Module) -> bool:
    """The same of one attention module: whether its forward pass calls what transformers' interface holds."""
    names: tuple[str, ...] = inspect.unwrap(type(attention).forward).__code__.co_names
    return "ALL_ATTENTION_FUNCTIONS" in names


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
    s_aux: Tensor | None = None,
    **further: Any,
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
        s_aux: gpt-oss's sinks (heads,): the score of one more key, whose value is 0.

    Returns:
        (batch, q, heads, head_dim) and the attention weights (batch, heads, q, k).

    Raises:
        ValueError: the model hands over something that changes its attention and is not known here.
    """
    unknown = [name for name in _CHANGING if further.get(name) is not None]
    if unknown:
        raise ValueError(f"{type(module).__name__} attends by {unknown[0]!r} too, which is not known here.")
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
    if s_aux is not None:
        scores = torch.cat([scores, s_aux.reshape(1, -1, 1, 1).expand(*scores.shape[:-1], 1)], dim=-1)
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.promote_types(query.dtype, torch.float32))
    weights = weights[..., : key.shape[-2]]
    weights = nn.functional.dropout(weights.to(query.dtype), p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


_CHANGING = ("sinks",)
"""What a model may hand over to its attention that changes it, beside the scores' own terms."""


def additive_mask(*args: Any, **kwargs: Any) -> Tensor:
    """transformers' mask for eager attention (0 or the dtype's least number), built whether or not there is padding."""
    kwargs["allow_is_bidirectional_skip"] = False
    return transformers.masking_utils.eager_mask(*args, **kwargs)


def sdpa_attention(module: nn.Module, query: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    """transformers' SDPA; under a `torch.func` transform by its mathematical kernel, which every transform knows."""
    attend = transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS["sdpa"]
    kernel = sdpa_kernel(SDPBackend.MATH) if is_transformed(query) else nullcontext()
    with kernel:
        return attend(module, query, *args, **kwargs)


def safe_sdpa_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """transformers' mask for SDPA; under a `torch.func` transform it is built without looking at what it holds."""
    mask = kwargs.get("attention_mask")
    if mask is not None and is_transformed(mask):
        kwargs["allow_is_causal_skip"] = kwargs["allow_is_bidirectional_skip"] = False
    return transformers.masking_utils.sdpa_mask(*args, **kwargs)


def is_transformed(tensor: Tensor) -> bool:
    """Whether a `torch.func` transform wraps the tensor, so that its values cannot steer Python."""
    return torch.func.debug_unwrap(tensor) is not tensor


def attention_of(model: Any) -> Attention:
    """Which attention a model was built with."""
    return "sdpa" if model.config._attn_implementation == SDPA else "eager"
