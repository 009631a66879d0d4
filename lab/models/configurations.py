"""Published models as configurations: without weights for counting, or with random ones for timing; no network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lab.deferred import transformers
from lab.models.assemble import HeadKind, HeadRequest, as_plm, configured, model_class, seeded
from lab.models.attention import Attention, implementation
from lab.models.device import device_of
from lab.models.families import architecture_of
from lab.models.plm import PLM


@dataclass(frozen=True)
class Model:
    """A published model's configuration.

    Attributes:
        name: the hub's id, without the owner.
        model_type: its transformers model type.
        settings: entries that differ from that type's defaults.
        tied: whether the language-model head shares the word embedding.
    """

    name: str
    model_type: str
    settings: dict[str, Any] = field(default_factory=dict)
    tied: bool = True


_BASE: dict[str, Any] = {
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
_LARGE: dict[str, Any] = {
    "num_hidden_layers": 24,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
_ROBERTA: dict[str, Any] = {
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
_T5_V11: dict[str, Any] = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "decoder_start_token_id": 0}


def _t5(d_model: int, d_ff: int, num_layers: int, num_heads: int) -> dict[str, Any]:
    return {**_T5_V11, "d_model": d_model, "d_ff": d_ff, "num_layers": num_layers, "num_heads": num_heads, "d_kv": 64}


MODELS = (
    Model("bert-base-uncased", "bert", {**_BASE, "vocab_size": 30522}),
    Model("bert-large-uncased", "bert", {**_LARGE, "vocab_size": 30522}),
    Model("roberta-base", "roberta", {**_BASE, **_ROBERTA}),
    Model("roberta-large", "roberta", {**_LARGE, **_ROBERTA}),
    Model("t5-v1.1-small", "t5", _t5(512, 1024, 8, 6), tied=False),
    Model("t5-v1.1-base", "t5", _t5(768, 2048, 12, 12), tied=False),
    Model("t5-v1.1-large", "t5", _t5(1024, 2816, 24, 16), tied=False),
    Model("t5-v1.1-xl", "t5", _t5(2048, 5120, 24, 32), tied=False),
    Model("t5-v1.1-xxl", "t5", _t5(4096, 10240, 24, 64), tied=False),
    Model("gpt2", "gpt2"),
    Model("gpt2-xl", "gpt2", {"n_embd": 1600, "n_layer": 48, "n_head": 25}),
    Model("llama-2-7b", "llama", {"rms_norm_eps": 1e-5}, tied=False),
    Model("minilm", "bert", {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12,
                             "intermediate_size": 1536}),
    Model("smollm2", "llama", {"num_hidden_layers": 30, "hidden_size": 576, "num_attention_heads": 9,
                               "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152,
                               "rms_norm_eps": 1e-5, "tie_word_embeddings": True}),
)  # fmt: skip


def meta_plm(name: str, *, head: HeadKind | str = "classification", num_labels: int = 2) -> PLM:
    """A PLM without weights, on torch's meta device: names, shapes and counts of a published model.

    It has no tokenizer, and its logits have a shape but no values.

    Args:
        name: one of `MODELS`.
        head: "classification", "regression" or "lm" ("mlm" is the same for an encoder).
        num_labels: classes of a classification head.

    Raises:
        ValueError: an unknown name.
    """
    with torch.device("meta"):
        return _built(name, head, num_labels, "eager", {"source": "configuration, no weights"})


def untrained_plm(
    name: str,
    *,
    head: HeadKind | str = "classification",
    num_labels: int = 2,
    seed: int = 0,
    device: str | torch.device = "cpu",
    attention: Attention = "eager",
) -> PLM:
    """A PLM of a published model's size with random weights: memory and speed do not depend on their values.

    Args:
        name: one of `MODELS`.
        head: as for `meta_plm`.
        num_labels: classes of a classification head.
        seed: of the weights.
        device: where they are made.
        attention: "eager" or "sdpa".

    Raises:
        ValueError: an unknown name.
    """
    with seeded(seed, "untrained"), device_of(device):
        return _built(name, head, num_labels, attention, {"source": f"configuration, random weights of seed {seed}"})


def _built(name: str, head: HeadKind | str, num_labels: int, attention: Attention, provenance: dict[str, Any]) -> PLM:
    by_name = {model.name: model for model in MODELS}
    if name not in by_name:
        raise ValueError(f"there is no built-in configuration {name!r}; there are {list(by_name)}.")
    model_type, settings, tied = by_name[name].model_type, by_name[name].settings, by_name[name].tied
    kind: Any = "lm" if head == "mlm" else head
    request = HeadRequest(kind, num_labels if kind == "classification" else None)
    config = configured(transformers.AutoConfig.for_model(model_type, **settings), request, None)
    if config.pad_token_id is None:
        config.pad_token_id = config.eos_token_id  # as loading pads GPT-2 and Llama, which have no padding token
    model = model_class(architecture_of(model_type), config, kind)._from_config(
        config, attn_implementation=implementation(attention), dtype=torch.float32
    )
    if kind == "lm" and not tied:
        _untie(model)
    prefix = model.base_model_prefix + "."
    new = () if kind == "lm" else tuple(n for n, _ in model.named_parameters() if not n.startswith(prefix))
    return as_plm(name, model, request, None, new_names=new, provenance=provenance)


def _untie(model: Any) -> None:
    """Give the language-model head a weight of its own; transformers (5.23) ties T5's whatever the configuration."""
    embedding = model.get_output_embeddings()
    embedding.weight = nn.Parameter(torch.empty_like(embedding.weight))
