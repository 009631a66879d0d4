"""A prefix as the key-value cache that a model is handed, where the attention is its own code (Falcon, BLOOM, GPT-J).

transformers' interface for attention, which `prefixed_attention` stands in, is not called there. What those models do
take is a cache of keys and values that were computed before: a prefix is one whose tokens were never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lab.deferred import transformers
from lab.deltas.prefixed_attention import prefix_length, prefixes_of
from lab.deltas.roles import present_places
from lab.deltas.soft_tokens import require_positions
from lab.models import PLM
from lab.models.graft import structural_copy
from lab.models.numbering import learned_positions


def cached_heads(plm: PLM) -> dict[str, tuple[int, int]]:
    """Path of each attention module, by depth -> (heads, head dimension) of the keys that it puts into a cache.

    The model is asked: it runs one token with an empty cache. Falcon with grouped queries, for one, repeats its keys
    before it caches them, and with multi-query keeps a single head.

    Returns:
        {} of a model that takes no cache, or where not every block has one.
    """
    if plm.architecture.kind != "decoder":
        return {}
    paths = [place.path for place in present_places(plm, ("attention",))]
    model: Any = structural_copy(plm.model)
    cache = transformers.DynamicCache()
    found: dict[str, tuple[int, int]] = {}
    with _recording(model, paths, cache, found), torch.no_grad():
        token = torch.zeros(1, 1, dtype=torch.int64, device=plm.device)
        try:
            model.get_submodule(plm.architecture.text_model(model))(token, past_key_values=cache)
        except TypeError:  # no such argument
            return {}
    return found if list(found) == paths and len(paths) == plm.n_blocks else {}


@contextmanager
def _recording(model: nn.Module, paths: list[str], cache: Any, found: dict[str, tuple[int, int]]) -> Iterator[None]:
    """Notes which attention module fills the next place of a cache, and with keys of how many heads and channels."""

    def note(path: str) -> Any:
        def hook(*_: Any) -> None:
            place = len(found)
            if len(cache.layers) == place + 1:
                keys = cache.layers[place].keys
                found[path] = int(keys.shape[1]), int(keys.shape[-1])

        return hook

    hooks = [model.get_submodule(path).register_forward_hook(note(path)) for path in paths]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def hand_over(model: nn.Module, text_model: str, heads: Mapping[str, tuple[int, int]]) -> None:
    """Let a structural copy read its text after a cache that holds the prefixes of its attention modules.

    The text's positions start after the prefix, and the model's own masks and biases count it: ALiBi's slope and the
    window of GPT-Neo's local layers reach back into it as into the text.

    Args:
        model: the copy; its attention modules carry the prefixes.
        text_model: path of the module that embeds a text.
        heads: `cached_heads`.
    """
    base = model.get_submodule(text_model)
    inner = {path.removeprefix(f"{text_model}.") if text_model else path: shape for path, shape in heads.items()}
    base.register_forward_pre_hook(_filled(inner, learned_positions(base)), with_kwargs=True)


def _filled(heads: Mapping[str, tuple[int, int]], limit: int | None) -> Any:
    def hook(base: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if kwargs.get("past_key_values") is not None:  # another prefix's hook was here: the cache holds all of them
            return args, kwargs
        text = next(x for x in (*args[:1], kwargs.get("input_ids"), kwargs.get("inputs_embeds")) if x is not None)
        n = prefix_length(base.get_submodule(next(iter(heads))))
        if limit is not None:
            require_positions(limit, n, text.shape[1], "prefix")
        pairs = [_pair(base.get_submodule(path), text.shape[0], *shape) for path, shape in heads.items()]
        given = {**kwargs, "past_key_values": transformers.DynamicCache(pairs)}
        if kwargs.get("attention_mask") is not None:
            given["attention_mask"] = nn.functional.pad(kwargs["attention_mask"], (n, 0), value=1)
        if kwargs.get("position_ids") is not None:
            given["position_ids"] = kwargs["position_ids"] + n
        return args, given

    return hook


def _pair(attention: nn.Module, batch: int, heads: int, width: int) -> tuple[Tensor, Tensor]:
    """Keys and values (batch, heads, tokens, head dimension) of the prefixes that one attention module carries."""
    found = prefixes_of(attention)
    key, value = (
        torch.cat([getattr(prefix, name) for prefix in found]).unflatten(-1, (heads, width)).transpose(0, 1)
        for name in ("key", "value")
    )
    return key.expand(batch, *key.shape), value.expand(batch, *value.shape)
