"""The families with a row. Others are found by their structure (`structure.py`); a row is for what that gets wrong.

To add one, write its row here and its tiny configuration in `tiny.py`."""

from __future__ import annotations

from lab.models.architecture import Architecture, Part, Slot, Stack


def _linear(**modules: str) -> dict[str, Slot]:
    return {role: Slot(module) for role, module in modules.items()}


_BERT_STACK = Stack(
    path="encoder.layer",
    slots=_linear(
        query="attention.self.query",
        key="attention.self.key",
        value="attention.self.value",
        output="attention.output.dense",
        up="intermediate.dense",
        down="output.dense",
    ),
    places={
        "attention": "attention.self",
        "feed_forward": "intermediate",
        "after_attention": "attention.output.dense",
        "after_feed_forward": "output.dense",
    },
    norms=("attention.output.LayerNorm", "output.LayerNorm"),
)

_LLAMA_SLOTS = _linear(
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.o_proj",
    gate="mlp.gate_proj",
    up="mlp.up_proj",
    down="mlp.down_proj",
)

_LLAMA_STACK = Stack(
    path="layers",
    slots=_LLAMA_SLOTS,
    places={
        "attention": "self_attn",
        "feed_forward": "mlp",
        "after_attention": "self_attn.o_proj",
        "after_feed_forward": "mlp.down_proj",
    },
    norms=("input_layernorm", "post_attention_layernorm"),
)

# Gemma 2 and 3 normalise each sublayer's output before adding it to the residual stream
_SANDWICH_STACK = Stack(
    path="layers",
    slots=_LLAMA_SLOTS,
    places={
        "attention": "self_attn",
        "feed_forward": "mlp",
        "after_attention": "post_attention_layernorm",
        "after_feed_forward": "post_feedforward_layernorm",
    },
    norms=(
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ),
)

_GPT2_STACK = Stack(
    path="h",
    slots={
        "query": Slot("attn.c_attn", transposed=True, part=Part(0, 1, 3)),
        "key": Slot("attn.c_attn", transposed=True, part=Part(1, 2, 3)),
        "value": Slot("attn.c_attn", transposed=True, part=Part(2, 3, 3)),
        "qkv": Slot("attn.c_attn", transposed=True),
        "output": Slot("attn.c_proj", transposed=True),
        "up": Slot("mlp.c_fc", transposed=True),
        "down": Slot("mlp.c_proj", transposed=True),
    },
    places={
        "attention": "attn",
        "feed_forward": "mlp",
        "after_attention": "attn.c_proj",
        "after_feed_forward": "mlp.c_proj",
    },
    norms=("ln_1", "ln_2"),
)


def _t5_feed_forward(index: int) -> dict[str, Slot]:
    """T5 v1.0 has wi and wo; v1.1 has act(wi_0 x) ⊙ wi_1 x, so wi_0 is the gate."""
    ff = f"layer.{index}.DenseReluDense"
    return {"gate": Slot(f"{ff}.wi_0"), "up": Slot(f"{ff}.wi|wi_1"), "down": Slot(f"{ff}.wo")}


_T5_SELF = _linear(
    query="layer.0.SelfAttention.q",
    key="layer.0.SelfAttention.k",
    value="layer.0.SelfAttention.v",
    output="layer.0.SelfAttention.o",
)

_T5_ENCODER = Stack(
    path="encoder.block",
    slots={**_T5_SELF, **_t5_feed_forward(1)},
    places={
        "attention": "layer.0.SelfAttention",
        "feed_forward": "layer.1.DenseReluDense",
        "after_attention": "layer.0.SelfAttention.o",
        "after_feed_forward": "layer.1.DenseReluDense.wo",
    },
    norms=("layer.0.layer_norm", "layer.1.layer_norm"),
)

_T5_DECODER = Stack(
    path="decoder.block",
    slots={
        **_T5_SELF,
        **_linear(
            cross_query="layer.1.EncDecAttention.q",
            cross_key="layer.1.EncDecAttention.k",
            cross_value="layer.1.EncDecAttention.v",
            cross_output="layer.1.EncDecAttention.o",
        ),
        **_t5_feed_forward(2),
    },
    places={
        "attention": "layer.0.SelfAttention",
        "cross_attention": "layer.1.EncDecAttention",
        "feed_forward": "layer.2.DenseReluDense",
        "after_attention": "layer.0.SelfAttention.o",
        "after_cross_attention": "layer.1.EncDecAttention.o",
        "after_feed_forward": "layer.2.DenseReluDense.wo",
    },
    norms=("layer.0.layer_norm", "layer.1.layer_norm", "layer.2.layer_norm"),
)

_BERT_POOLER = ("pooler.dense.weight", "pooler.dense.bias")

ARCHITECTURES = (
    Architecture("bert", "encoder", ("bert",), (_BERT_STACK,), "embeddings.word_embeddings", (), _BERT_POOLER),
    Architecture(
        "roberta",
        "encoder",
        ("roberta", "xlm-roberta", "camembert"),
        (_BERT_STACK,),
        "embeddings.word_embeddings",
        (),
        _BERT_POOLER,
    ),
    Architecture(
        "llama", "decoder", ("llama", "mistral", "qwen2", "qwen3"), (_LLAMA_STACK,), "embed_tokens", ("norm",)
    ),
    Architecture("gpt2", "decoder", ("gpt2",), (_GPT2_STACK,), "wte", ("ln_f",)),
    Architecture(
        "t5",
        "encoder-decoder",
        ("t5",),
        (_T5_ENCODER, _T5_DECODER),
        "shared",
        ("encoder.final_layer_norm", "decoder.final_layer_norm"),
    ),
    Architecture("gemma", "decoder", ("gemma",), (_LLAMA_STACK,), "embed_tokens", ("norm",)),
    Architecture("gemma2", "decoder", ("gemma2", "gemma3_text"), (_SANDWICH_STACK,), "embed_tokens", ("norm",)),
)


def architecture_of(model_type: str) -> Architecture:
    """The row that covers a `config.model_type`.

    Raises:
        ValueError: no row does.
    """
    for architecture in ARCHITECTURES:
        if model_type in architecture.model_types:
            return architecture
    known = [t for architecture in ARCHITECTURES for t in architecture.model_types]
    raise ValueError(
        f"no architecture row covers model_type {model_type!r}; there are rows for {known}. "
        "`lab.models.structure.architecture_for` finds many others; or give load_plm(…, architecture=…)."
    )
