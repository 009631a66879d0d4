"""Random two-layer models of every family, built offline in milliseconds: what tests and smoke runs work on."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lab.deferred import transformers
from lab.models.assemble import HeadKind, HeadRequest, as_plm, configured, fresh, model_class, reseed_head, seeded
from lab.models.attention import Attention
from lab.models.device import device_of
from lab.models.plm import PLM
from lab.models.structure import TRIED, architecture_for
from lab.models.tiny_tokenizer import tiny_tokenizer

BUILT_IN = "tiny-"
"""What the name of a tiny model begins with: `load_plm("tiny-bert")` is `tiny_plm("bert")`, in float32."""


def built_in(name: str) -> bool:
    """Whether a name for `load_plm` has the form of a tiny model's, which is made here and random."""
    return name.startswith(BUILT_IN) and "/" not in name


HIDDEN, FEED_FORWARD, N_LAYERS, HEADS, POSITIONS = 16, 24, 2, 4, 256
STD = 0.2
"""Standard deviation of the weights: ten times the usual 0.02, so that attention is far from uniform at 16 channels."""

_COMMON = {"hidden_size": HIDDEN, "num_hidden_layers": N_LAYERS, "num_attention_heads": HEADS, "initializer_range": STD}
_WIDE = {**_COMMON, "intermediate_size": FEED_FORWARD, "max_position_embeddings": POSITIONS}
_GROUPED = {**_WIDE, "num_key_value_heads": 2, "head_dim": HIDDEN // HEADS, "tie_word_embeddings": True}
_T5 = {
    "d_model": HIDDEN,
    "d_kv": HIDDEN // HEADS,
    "d_ff": FEED_FORWARD,
    "num_layers": N_LAYERS,
    "num_heads": HEADS,
    "feed_forward_proj": "gated-gelu",
    "decoder_start_token_id": 0,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
}
_TWO_STACKS = {
    "d_model": HIDDEN,
    "encoder_layers": N_LAYERS,
    "decoder_layers": N_LAYERS,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": FEED_FORWARD,
    "decoder_ffn_dim": FEED_FORWARD,
    "init_std": STD,
    "decoder_start_token_id": 2,
}
_DISTILLED = {
    "dim": HIDDEN,
    "hidden_dim": FEED_FORWARD,
    "n_layers": N_LAYERS,
    "n_heads": HEADS,
    "initializer_range": STD,
}
_BRIEF = {"n_layer": N_LAYERS, "n_head": HEADS, "initializer_range": STD}
_SANDWICH = {**_GROUPED, "query_pre_attn_scalar": HIDDEN // HEADS, "sliding_window": 8}

# name -> (model_type, family of the tokenizer, settings)
CONFIGURATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("bert", "bert", _WIDE),
    "roberta": ("roberta", "roberta", {**_WIDE, "max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1}),
    "llama": ("llama", "llama", _GROUPED),
    "mistral": ("mistral", "llama", {**_GROUPED, "sliding_window": 8}),
    "qwen2": ("qwen2", "llama", {k: v for k, v in _GROUPED.items() if k != "head_dim"}),
    "qwen3": ("qwen3", "llama", _GROUPED),
    "gpt2": ("gpt2", "gpt2", {**_COMMON, "n_inner": FEED_FORWARD, "n_positions": POSITIONS}),
    "t5": ("t5", "t5", _T5),
    "gemma": ("gemma", "gemma", _GROUPED),
    "gemma2": ("gemma2", "gemma", _SANDWICH),
    "gemma3": ("gemma3_text", "gemma", {**_SANDWICH, "layer_types": ["sliding_attention", "full_attention"]}),
    "distilbert": ("distilbert", "distilbert", {**_DISTILLED, "max_position_embeddings": POSITIONS}),
    "electra": ("electra", "bert", {**_WIDE, "embedding_size": 12}),
    "albert": ("albert", "bert", {**_WIDE, "embedding_size": 12}),
    "deberta": (
        "deberta-v2",
        "bert",
        {
            **_WIDE,
            "type_vocab_size": 0,
            "relative_attention": True,
            "position_buckets": 8,
            "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
        },
    ),
    "modernbert": ("modernbert", "distilbert", {**_WIDE, "local_attention": 8, "global_attn_every_n_layers": 2}),
    "mpnet": ("mpnet", "mpnet", {**_WIDE, "max_position_embeddings": POSITIONS + 2}),
    "bart": ("bart", "bart", {**_TWO_STACKS, "max_position_embeddings": POSITIONS}),
    "mt5": ("mt5", "t5", _T5),
    "opt": (
        "opt",
        "bart",
        {**_COMMON, "ffn_dim": FEED_FORWARD, "max_position_embeddings": POSITIONS, "word_embed_proj_dim": HIDDEN},
    ),
    "gpt_neox": ("gpt_neox", "gpt2", _WIDE),
    "falcon": ("falcon", "gpt2", {**_COMMON, "ffn_hidden_size": FEED_FORWARD, "multi_query": True}),
    "falcon-grouped": (
        "falcon",
        "gpt2",
        {**_COMMON, "ffn_hidden_size": FEED_FORWARD, "new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "bloom": ("bloom", "gpt2", {**_BRIEF, "hidden_size": HIDDEN}),
    "gptj": (
        "gptj",
        "gpt2",
        {**_BRIEF, "n_embd": HIDDEN, "n_inner": FEED_FORWARD, "rotary_dim": HIDDEN // HEADS, "n_positions": POSITIONS},
    ),
    "gpt_neo": (
        "gpt_neo",
        "gpt2",
        {
            "hidden_size": HIDDEN,
            "num_layers": N_LAYERS,
            "num_heads": HEADS,
            "intermediate_size": FEED_FORWARD,
            "attention_types": [[["global", "local"], N_LAYERS // 2]],
            "window_size": 8,
            "max_position_embeddings": POSITIONS,
            "initializer_range": STD,
        },
    ),
    "phi": ("phi", "gpt2", _WIDE),
    "phi3": ("phi3", "llama", {**_WIDE, "num_key_value_heads": 2}),
    "qwen3_moe": (
        "qwen3_moe",
        "llama",
        {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": FEED_FORWARD},
    ),
}

_DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers")

FAMILIES = ("bert", "roberta", "llama", "gpt2", "t5", "gemma")
"""One tiny model per family with a row; `CONFIGURATIONS` holds variants of some, and those found by their structure."""

FOUND = tuple(name for name, (model_type, _, _) in CONFIGURATIONS.items() if model_type in TRIED)
"""Those whose architecture is found by their structure."""


def tiny_plm(
    family: str,
    *,
    seed: int = 0,
    num_labels: int | None = None,
    n_layers: int | None = None,
    head: HeadKind = "classification",
    verbalizer: tuple[str, ...] | None = None,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
    attention: Attention = "eager",
) -> PLM:
    """A random two-layer PLM with 16 channels and its tokenizer; about 15,000 parameters, no file, no network.

    Biases are nonzero and norms vary, so that nothing passes a test because it was zero or one. Llama and Gemma share
    keys and values between heads. The head counts as new (`new_names`), as in a loaded PLM.

    Args:
        family: one of `FAMILIES`, or a variant in `CONFIGURATIONS`.
        seed: of all weights.
        num_labels: default 2 (1 for regression).
        n_layers: blocks of each stack; default 2.
        head: "classification", "regression" or "lm".
        verbalizer: label words of an "lm" head, e.g. ("bad", "good").
        dtype: default float64, the lab's dtype for tests and theory.
        device: where the weights go.
        attention: "eager" or "sdpa"; see `load_plm`.

    Raises:
        ValueError: an unknown family, or a head that does not fit.
    """
    if family not in CONFIGURATIONS:
        raise ValueError(f"there is no tiny {family!r}; choose one of {list(CONFIGURATIONS)}.")
    model_type, layout, settings = CONFIGURATIONS[family]
    settings = settings if n_layers is None else _of_depth(settings, n_layers)
    if head == "classification" and num_labels is None:
        num_labels = 2
    request = HeadRequest(head, num_labels, verbalizer)
    tokenizer = tiny_tokenizer(layout)
    special = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id", None) for role in ("pad", "bos", "eos")}
    config = transformers.AutoConfig.for_model(model_type, vocab_size=len(tokenizer), **special, **settings)
    config = configured(config, request, tokenizer)
    cls = model_class(architecture_for(config), config, request.kind)
    model: Any = fresh(cls, config, seed=seed, attention=attention)
    _perturb(model, seed)
    base = model.base_model_prefix + "."
    new = () if head == "lm" else tuple(n for n, _ in model.named_parameters() if not n.startswith(base))
    reseed_head(model, new, seed)
    model = model.to(dtype=dtype, device=device_of(device))
    provenance = {"source": f"random weights, seed {seed}", "model_type": model_type}
    return as_plm(f"{BUILT_IN}{family}", model, request, tokenizer, new_names=new, provenance=provenance)


def _of_depth(settings: dict[str, Any], n_layers: int) -> dict[str, Any]:
    if n_layers < 1:
        raise ValueError(f"a tiny model needs n_layers >= 1; got {n_layers}.")
    depth: dict[str, Any] = {name: n_layers for name in _DEPTHS if name in settings}
    if "layer_types" in settings:
        depth["layer_types"] = (settings["layer_types"] * n_layers)[:n_layers]
    if "attention_types" in settings:
        kinds = settings["attention_types"][0][0]
        depth["attention_types"] = [[(kinds * n_layers)[:n_layers], 1]]
    return settings | depth


@torch.no_grad()
def _perturb(model: nn.Module, seed: int) -> None:
    """Move every bias and norm weight away from 0 and 1."""
    with seeded(seed + 1):
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(STD * torch.randn_like(parameter))
