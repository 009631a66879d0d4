"""peft's prompt-learning types: peft's encoder makes the soft tokens, our grafts carry them into the PLM."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lab.deltas.additive import Additive
from lab.deltas.delta import Delta, Reparameterized
from lab.deltas.peft_layers import peft_model
from lab.deltas.prefix import prefix_delta
from lab.deltas.prompt import prompt_delta
from lab.deltas.values import Values
from lab.linalg import Layout
from lab.models import PLM

PROMPTS = ("PROMPT_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING")
PREFIXES = ("PREFIX_TUNING", "CARTRIDGE")


def prompt_learning(plm: PLM, config: Any, peft: Any, seed: int, label: str) -> Delta:
    """φ = the parameters of peft's prompt encoder, started at peft's values; the encoder is discarded after training.

    Raises:
        ValueError: soft tokens for a decoder too, or a prefix on an encoder-decoder: peft means another map there.
    """
    kind = str(config.peft_type.value)
    if config.num_transformer_submodules not in (None, 1):
        raise ValueError(
            f"this {kind} configuration puts soft tokens into {config.num_transformer_submodules} stacks; "
            "set num_transformer_submodules=1 (the encoder of an encoder-decoder)."
        )
    config.task_type = "FEATURE_EXTRACTION"  # peft's model without a head of its own
    model = peft_model(plm, config, peft, seed)
    encoder: nn.Module = model.prompt_encoder["default"].to(dtype=plm.dtype, device=plm.device)
    indices = model.prompt_tokens["default"][None].to(plm.device)
    task = (torch.zeros(1, dtype=torch.int64, device=plm.device),) if kind == "MULTITASK_PROMPT_TUNING" else ()
    trained = {name: p.detach().clone() for name, p in encoder.named_parameters() if p.requires_grad}
    layout = Layout.of({f"{label}.{name}": p for name, p in trained.items()})

    def encoded(z: Tensor) -> Tensor:
        values = {name.removeprefix(f"{label}."): value for name, value in layout.unflatten(z).items()}
        return functional_call(encoder, values, (indices, *task))[0]  # (tokens, width)

    z0 = layout.flatten({f"{label}.{name}": p for name, p in trained.items()})
    rows = encoded(z0).detach()
    inner = _prefix(plm, rows, label) if kind in PREFIXES else prompt_delta(plm, torch.zeros_like(rows), label, "front")
    widths = [part.shape[-1] for part in inner.layout]

    def generate(z: Tensor) -> Tensor:
        return torch.cat([piece.reshape(-1) for piece in encoded(z).split(widths, dim=-1)])

    return Reparameterized(inner, generate, z0, at_identity=False, layout=layout, stored_size=inner.size)


def stored_prompt(plm: PLM, kind: str, rows: Tensor, label: str) -> tuple[Delta, Tensor]:
    """A stored prompt or prefix as a delta whose φ holds its values.

    Args:
        plm: the PLM.
        kind: peft type.
        rows: "prompt_embeddings" of the checkpoint: (tokens, hidden), or (tokens, all keys and values, layer by layer).
        label: name of the graft.
    """
    rows = rows.to(dtype=plm.dtype, device=plm.device)
    host = (_prefix(plm, rows, label) if kind in PREFIXES else prompt_delta(plm, rows, label, "front")).plm
    delta = Values(host, host.grafts[-1].parameter_names, at_identity=False)
    widths = [part.shape[-1] for part in delta.layout]
    return delta, torch.cat([piece.reshape(-1) for piece in rows.split(widths, dim=-1)])


def _prefix(plm: PLM, rows: Tensor, label: str) -> Additive:
    if plm.architecture.kind == "encoder-decoder":
        raise ValueError(f"peft's prefix on {plm.architecture.family} reaches its decoder only; use Prefix(…) there.")
    inner = prefix_delta(plm, len(rows), label, 0.0, seed=0)
    expected = sum(part.shape[-1] for part in inner.layout)
    if rows.shape[1] != expected:
        raise ValueError(f"this prefix has {rows.shape[1]} numbers per token; {plm.name!r} needs {expected}.")
    return inner
