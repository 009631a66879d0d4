"""peft's prompt-learning types: peft's encoder makes the soft tokens, our grafts carry them into the PLM."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lab.deltas.additive import Additive
from lab.deltas.cached_prefix import cached_heads
from lab.deltas.delta import Delta, Reparameterized
from lab.deltas.peft_layers import peft_model
from lab.deltas.prefix import by_interface, prefix_delta
from lab.deltas.prompt import prompt_delta
from lab.deltas.values import Values
from lab.linalg import Layout
from lab.models import PLM

PROMPTS = ("PROMPT_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING")
PREFIXES = ("PREFIX_TUNING", "CARTRIDGE")


def prompt_learning(plm: PLM, config: Any, peft: Any, seed: int, label: str) -> Delta:
    """φ = the parameters of peft's prompt encoder, started at peft's values; the encoder is discarded after training.

    Raises:
        ValueError: a number of stacks that means nothing for this type on this PLM.
    """
    kind = str(config.peft_type.value)
    config.num_transformer_submodules = _stacks(plm, kind, config.num_transformer_submodules)
    if kind in PROMPTS and config.token_dim is None:  # peft would take the hidden states' width
        config.token_dim = _width(plm)
    if kind in PREFIXES and (shape := _one_shape(plm)) and config.token_dim is config.num_attention_heads is None:
        config.num_attention_heads, config.token_dim = shape[0], shape[0] * shape[1]  # peft would take every head's
    config.task_type = "FEATURE_EXTRACTION"  # peft's model without a head of its own
    model = peft_model(plm, config, peft, seed)
    encoder: nn.Module = model.prompt_encoder["default"].to(dtype=plm.dtype, device=plm.device)
    indices = model.prompt_tokens["default"][None].to(plm.device)
    if kind in PREFIXES:
        indices = indices[:, : config.num_virtual_tokens]
    task = (torch.zeros(1, dtype=torch.int64, device=plm.device),) if kind == "MULTITASK_PROMPT_TUNING" else ()
    trained = {name: p.detach().clone() for name, p in encoder.named_parameters() if p.requires_grad}
    layout = Layout.of({f"{label}.{name}": p for name, p in trained.items()})

    def encoded(z: Tensor) -> Tensor:
        values = {name.removeprefix(f"{label}."): value for name, value in layout.unflatten(z).items()}
        return functional_call(encoder, values, (indices, *task))[0]  # (tokens, width)

    z0 = layout.flatten({f"{label}.{name}": p for name, p in trained.items()})
    rows = encoded(z0).detach()
    inner = _host(plm, kind, torch.zeros_like(rows), config.num_virtual_tokens, label)

    def generate(z: Tensor) -> Tensor:
        return _arranged(plm, kind, encoded(z), inner)

    return Reparameterized(inner, generate, z0, at_identity=False, layout=layout, stored_size=inner.size)


def stored_prompt(plm: PLM, kind: str, rows: Tensor, tokens: int, label: str) -> tuple[Delta, Tensor]:
    """A stored prompt or prefix as a delta whose φ holds its values.

    Args:
        plm: the PLM.
        kind: peft type.
        rows: "prompt_embeddings" of the checkpoint: (tokens, hidden), or (tokens, all keys and values, layer by layer).
            On an encoder-decoder peft stores twice as many for prompts, the second half for the decoder.
        tokens: soft tokens in front of one text.
        label: name of the graft.

    Raises:
        ValueError: rows of another shape than this PLM's.
    """
    rows = rows.to(dtype=plm.dtype, device=plm.device)
    inner = _host(plm, kind, rows, tokens, label)
    delta = Values(inner.plm, inner.plm.grafts[-1].parameter_names, at_identity=False)
    return delta, _arranged(plm, kind, rows, inner)


def _stacks(plm: PLM, kind: str, asked: int | None) -> int:
    """For how many stacks peft has soft tokens; a plain prompt's second half never reaches its model."""
    two = plm.architecture.kind == "encoder-decoder"
    if asked not in (None, 1, 2) or (asked == 2 and not two) or (asked == 1 and two and kind in PREFIXES):
        there = "2 (peft's prefix is in the decoder alone)" if two else "1"
        raise ValueError(
            f"this {kind} configuration puts soft tokens into {asked} stacks; set num_transformer_submodules={there} "
            f"for {plm.name!r}, or leave it out."
        )
    return asked or (2 if two and kind in (*PREFIXES, "MULTITASK_PROMPT_TUNING") else 1)


def _host(plm: PLM, kind: str, rows: Tensor, tokens: int, label: str) -> Additive:
    """The delta on a host that carries the rows, as peft lays them out."""
    if kind in PREFIXES:
        inner = prefix_delta(plm, tokens, label, 0.0, seed=0, as_peft=True)
        expected = sum(part.shape[-1] for part in inner.layout)
        if plm.architecture.kind == "encoder-decoder":  # peft counts the encoder's blocks
            expected = inner.layout.parts[0].shape[-1] * 2 * len(plm.architecture.first_stack(plm.model))
        if rows.shape[1] != expected:
            raise ValueError(
                f"this prefix has {rows.shape[1]} numbers per token; {plm.name!r} needs {expected}"
                f"{_of_shared_blocks(plm, len(inner.layout) // 2, tokens) or _of_shared_heads(plm)}."
            )
        if len(rows) != tokens:
            raise ValueError(f"this prefix has {len(rows)} tokens; its configuration says {tokens}.")
        return inner
    width = _width(plm)
    two = plm.architecture.kind == "encoder-decoder"
    if rows.shape[1] != width or len(rows) not in ((tokens, 2 * tokens) if two else (tokens,)):
        raise ValueError(
            f"this prompt has shape {tuple(rows.shape)}; {plm.name!r} needs {tokens} tokens of {width} numbers"
            f"{_as_wide_as_words(rows.shape[1], width)}."
        )
    first, second = rows[:tokens], rows[tokens:]
    decoder = second if len(second) and kind == "MULTITASK_PROMPT_TUNING" else None
    return prompt_delta(plm, first, label, "front", decoder=decoder)


def _width(plm: PLM) -> int:
    """Width of the word embeddings, which soft tokens stand among; in ALBERT less than that of the hidden states."""
    return plm.parameters[plm.word_table].shape[1]


def _as_wide_as_words(got: int, width: int) -> str:
    """What to do about soft tokens of another width than the words'; peft itself fails at their first text."""
    if got == width:
        return ""
    return (
        f", the width of its word embeddings (peft takes that of the hidden states where its configuration is silent); "
        f"train it with token_dim={width}, or take Prompt(…)"
    )


def _of_shared_blocks(plm: PLM, blocks: int, tokens: int) -> str:
    """What to do about a prefix for every run of a block that runs several times; peft itself cannot use it."""
    runs = getattr(plm.model.config, "num_hidden_layers", blocks)
    if runs <= blocks:
        return ""
    return (
        f": its {runs} layers run {'one block' if blocks == 1 else f'{blocks} blocks'}, and peft has keys and values "
        f"for each run, which it cannot use here itself; take Prefix(tokens={tokens}), whose keys and values every run "
        "of a block sees, LoRA(…), or peft's PROMPT_TUNING"
    )


def _one_shape(plm: PLM) -> tuple[int, int] | None:
    """(heads, head dimension) of the keys that a model with attention of its own caches; None of other models.

    Without word of it peft takes the heads of the queries, and a prefix of that width does not fit Falcon's single one.
    """
    shapes = set() if by_interface(plm) else set(cached_heads(plm).values())
    return shapes.pop() if len(shapes) == 1 else None


def _of_shared_heads(plm: PLM) -> str:
    """What to do about a prefix for every head of the queries; peft itself fails at its first text."""
    shape = _one_shape(plm)
    if shape is None:
        return ""
    return (
        f", {shape[0]} heads of {shape[1]} in every block (peft takes those of the queries where its configuration is "
        f"silent); train it with num_attention_heads={shape[0]}, token_dim={shape[0] * shape[1]}, or take Prefix(…)"
    )


def _arranged(plm: PLM, kind: str, rows: Tensor, inner: Additive) -> Tensor:
    """φ of the host's parameters from peft's rows.

    On an encoder-decoder peft (0.21) deals its 2L pieces K₀, V₀, K₁, … out as if the cross-attention had its own, and
    then drops those: block t of the decoder gets the pair 2t mod L.
    """
    if kind not in PREFIXES:
        return rows.reshape(-1)[: inner.size]
    if plm.architecture.kind == "encoder-decoder":
        pieces = rows.split(inner.layout.parts[0].shape[-1], dim=-1)
        L, blocks = len(pieces) // 2, len(inner.layout) // 2
        if blocks > L:
            raise ValueError(f"peft has a prefix for {L} blocks; the decoder of {plm.name!r} has {blocks}.")
        pieces = tuple(pieces[2 * (2 * t % L) + i] for t in range(blocks) for i in range(2))
    else:
        pieces = rows.split([part.shape[-1] for part in inner.layout], dim=-1)
    return torch.cat([piece.reshape(-1) for piece in pieces])
