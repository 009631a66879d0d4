"""What the linear maps of a block are, told by their names, their shapes and where they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from lab.models.architecture import Part, Slot

_ATTENTION = re.compile(r"(?i)attn|attention")
_CROSS = re.compile(r"(?i)cross|encoder_attn|encdec")
_EXPERTS = re.compile(r"(?i)experts?\b")

_IN_ATTENTION: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "query": ("q", "query", "q_proj", "q_lin", "query_proj", "wq", "q_linear", "q_b_proj"),
        "key": ("k", "key", "k_proj", "k_lin", "key_proj", "wk", "k_linear"),
        "value": ("v", "value", "v_proj", "v_lin", "value_proj", "wv", "v_linear"),
        "query_down": ("q_a_proj",),  # through a latent of few channels (DeepSeek)
        "key_value_down": ("kv_a_proj_with_mqa", "kv_a_proj"),
        "key_value": ("kv_b_proj", "kv_proj"),
        "qkv": ("qkv", "qkv_proj", "Wqkv", "query_key_value", "c_attn", "in_proj"),
        "output": ("o", "out_proj", "o_proj", "out_lin", "c_proj", "dense", "Wo", "wo", "out"),
    }
)
_IN_FEED_FORWARD: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gate": ("gate_proj", "wi_0"),
        "up": ("up_proj", "fc1", "fc_in", "c_fc", "dense_h_to_4h", "lin1", "wi", "wi_1", "ffn", "intermediate.dense"),
        "gate_up": ("gate_up_proj", "Wi"),
        "down": ("down_proj", "fc2", "fc_out", "c_proj", "dense_4h_to_h", "lin2", "wo", "Wo", "ffn_output",
                 "output.dense"),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Linear:
    """A linear map of a block.

    Attributes:
        path: in the block.
        shape: (outputs, inputs).
        transposed: its transpose is stored.
        attends: it belongs to an attention, by its path or by the class of a module around it (Nemotron-H's `mixer`).
    """

    path: str
    shape: tuple[int, int]
    transposed: bool
    attends: bool


def linear_maps(block: nn.Module) -> list[Linear]:
    """The linear maps of a block, in order of registration, without those of a mixture's experts and its router."""
    found = []
    attentions = [
        p for p, m in block.named_modules() if p and (_ATTENTION.search(p) or "Attention" in type(m).__name__)
    ]
    for path, module in block.named_modules():
        conv1d = type(module).__name__ == "Conv1D"
        if (isinstance(module, nn.Linear) or conv1d) and not _EXPERTS.search(path):
            m, n = module.get_parameter("weight").shape[:: -1 if conv1d else 1]
            attends = any(path == around or path.startswith(f"{around}.") for around in attentions)
            found.append(Linear(path, (m, n), conv1d, attends))
    return found


def slots_of(block: nn.Module, config: Any) -> dict[str, Slot]:
    """Role -> where it is in a block.

    Names come first (`_IN_ATTENTION`, `_IN_FEED_FORWARD`), then shapes and order: of four maps of one attention with
    unknown names the order is query, key, value, output; of a feed-forward the maps that widen come before the one that
    narrows, and one twice as wide as what that reads is gate and up in one. A fused query-key-value is taken apart
    where its layout is known (`fused_parts`), and is one matrix, "qkv", elsewhere.

    Raises:
        ValueError: no query, or no output of the attention, can be told.
    """
    maps = linear_maps(block)
    inside = [x for x in maps if x.attends]
    slots = _attention([x for x in inside if not _CROSS.search(x.path)], config)
    crossing = [x for x in inside if _CROSS.search(x.path)]
    if crossing:
        slots |= {f"cross_{role}": slot for role, slot in _attention(crossing, config).items()}
    return slots | _feed_forward([x for x in maps if x not in inside])


def _attention(maps: list[Linear], config: Any) -> dict[str, Slot]:
    found = _named(maps, _IN_ATTENTION)
    if not ({"query", "key", "value"} <= found.keys() or "qkv" in found) and len(maps) == 4:
        found = dict(zip(("query", "key", "value", "output"), maps, strict=True))
    if "output" not in found:
        rest = [x for x in maps if x not in found.values()]
        if len(rest) == 1:
            found["output"] = rest[0]
    fused = {"qkv": ("query", "key", "value"), "key_value": ("key", "value")}
    told = {*found, *(role for whole, roles in fused.items() if whole in found for role in roles)}
    lacking = [role for role in ("query", "key", "value") if role not in told]
    lacking += ["output"] if "output" not in found else []
    if not maps:
        raise ValueError("its blocks have no attention made of linear maps (a state space, perhaps)")
    if lacking:
        names = [x.path for x in maps]
        raise ValueError(f"no {' and no '.join(lacking)} can be told among the linear maps of its attention, {names}")
    slots = {role: Slot(x.path, x.transposed) for role, x in found.items() if role != "qkv"}
    if "qkv" in found:
        x = found["qkv"]
        parts = fused_parts(config)
        slots |= {role: Slot(x.path, x.transposed, part) for role, part in parts.items()}
        slots["qkv"] = Slot(x.path, x.transposed)
    order = ("query_down", "query", "key", "value", "key_value_down", "key_value", "qkv", "output")
    return {role: slots[role] for role in order if role in slots}


def _feed_forward(maps: list[Linear]) -> dict[str, Slot]:
    found = _named(maps, _IN_FEED_FORWARD)
    if "down" not in found and 2 <= len(maps) <= 3:
        *into, last = maps
        found = {"down": last} | dict(zip(("gate", "up") if len(into) == 2 else ("up",), into, strict=True))
    if "down" not in found:
        return {}  # a mixture of experts
    down = found["down"]
    whole = found.pop("gate_up", None)
    if whole is None and "gate" not in found and "up" in found and found["up"].shape[0] == 2 * down.shape[1]:
        whole = found.pop("up")
    slots = {role: Slot(x.path, x.transposed) for role, x in found.items()}
    if whole is not None:
        slots |= {role: Slot(whole.path, whole.transposed, Part(i, i + 1, 2)) for i, role in enumerate(("gate", "up"))}
        slots["gate_up"] = Slot(whole.path, whole.transposed)
    order = ("gate", "up", "gate_up", "down")
    return {role: slots[role] for role in order if role in slots}


def _named(maps: list[Linear], names: Mapping[str, tuple[str, ...]]) -> dict[str, Linear]:
    found: dict[str, Linear] = {}
    for x in maps:
        for role, endings in names.items():
            if role not in found and any(f".{x.path}".endswith(f".{ending}") for ending in endings):
                found[role] = x
                break
    return found


def role_of(path: str) -> str:
    """The role of a linear map by its path in a block alone, without shapes; "other" where its name says nothing."""
    inside = _ATTENTION.search(path)
    for role, endings in (_IN_ATTENTION if inside else _IN_FEED_FORWARD).items():
        if any(f".{path}".endswith(f".{ending}") for ending in endings):
            return f"cross_{role}" if inside and _CROSS.search(path) else role
    return "other"


def fused_parts(config: Any) -> dict[str, Part]:
    """How a model type lays query, key and value out in one weight; {} where that is not known."""
    config = config.get_text_config()
    kind, heads = config.model_type, config.num_attention_heads
    if kind in ("gpt2", "openai-gpt", "modernbert", "mpt"):  # one after the other
        return {role: Part(i, i + 1, 3) for i, role in enumerate(("query", "key", "value"))}
    if kind == "gpt_bigcode" and config.multi_query:  # one head of keys and one of values for all queries
        return _grouped(heads, 1, 1)
    if kind in ("gpt_neox", "gpt_bigcode", "bloom", "deberta"):  # each head its own three
        return {role: Part(i, i + 1, 3, heads) for i, role in enumerate(("query", "key", "value"))}
    if kind == "codegen":  # four slices, as the TPUs it was trained on held them
        return {role: Part(i, i + 1, 3, 4) for i, role in enumerate(("query", "value", "key"))}
    if kind in ("phi3", "phi4", "glm4"):
        shared = config.num_key_value_heads
        return _grouped(heads, shared, 1)
    if kind == "falcon":
        if config.new_decoder_architecture:  # each group its queries, one key, one value
            return _grouped(heads // config.num_kv_heads, 1, config.num_kv_heads)
        if config.multi_query:
            return _grouped(heads, 1, 1)
        return {role: Part(i, i + 1, 3, heads) for i, role in enumerate(("query", "key", "value"))}
    return {}


def _grouped(queries: int, shared: int, repeats: int) -> dict[str, Part]:
    units = queries + 2 * shared
    return {
        "query": Part(0, queries, units, repeats),
        "key": Part(queries, queries + shared, units, repeats),
        "value": Part(queries + shared, units, units, repeats),
    }
