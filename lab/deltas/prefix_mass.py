"""λ(x): how much of each head's attention goes to trained tokens, a prefix's or a prompt's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from lab.deferred import pandas as pd
from lab.deltas.delta import Delta
from lab.deltas.prefix import attention_paths, by_interface
from lab.deltas.prefixed_attention import prefixes_of, use_prefixes
from lab.deltas.soft_tokens import soft_positions, soft_tokens_of
from lab.models.graft import structural_copy


def prefix_mass(delta: Delta, phi: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Softmax mass on the trained tokens, λ(x) of He et al. 2022, eq. 7, for every token of the text.

    Of a prefix, head(x) = (1 − λ)·Attn(x; K, V) + λ·Attn(x; P_K, P_V): λ gates what it can do at a token, and where it
    is 0 the head runs as in the PLM. Soft tokens of a prompt take attention in the same way, at every layer, with the
    keys and values that their states have there; beyond block 0 the text's states differ from the PLM's too.

    Args:
        delta: a delta whose host carries a prefix or a prompt.
        phi: (d,).
        batch: as for `delta.logits`.

    Returns:
        Path of each attention module that sees trained tokens, by depth -> λ, shape (batch, heads, tokens of the text),
        in (0, 1); texts padded in front are at the left edge, as in `hidden_states`. With several prefixes and prompts,
        the mass on all of them. A prompt on T5 counts in the encoder.

    Raises:
        ValueError: no prefix and no prompt is grafted on the delta's host.
    """
    model = structural_copy(delta.plm.model)
    stacks = {name: module for name, module in model.named_modules() if soft_tokens_of(module)}
    carriers = {}
    for path in attention_paths(delta.plm):
        n_prefix = sum(prefix.key.shape[0] for prefix in prefixes_of(model.get_submodule(path)))
        stack = next((module for name, module in stacks.items() if not name or path.startswith(f"{name}.")), None)
        if n_prefix or stack is not None:
            carriers[path] = n_prefix, stack
    if not carriers:
        raise ValueError(
            f"no prefix and no prompt is grafted on {delta.plm.name!r}; build the delta with Prefix(…).on(plm) or "
            "Prompt(…).on(plm)."
        )
    if by_interface(delta.plm):
        use_prefixes(model, eager=True)  # SDPA does not return its weights
    mass: dict[str, Tensor] = {}
    for path, (n_prefix, stack) in carriers.items():
        model.get_submodule(path).register_forward_hook(_recorder(mass, path, n_prefix, stack))

    def run(**inputs: Tensor) -> Any:
        return functional_call(model, delta.overrides(phi), (), inputs)

    with torch.no_grad():
        delta.plm.head.logits(run, batch)
    return mass


def _recorder(mass: dict[str, Tensor], path: str, n_prefix: int, stack: nn.Module | None) -> Any:
    def hook(_module: nn.Module, _args: Any, output: tuple[Any, ...]) -> None:
        weights = [x for x in output if isinstance(x, Tensor) and x.ndim == 4][-1]  # (batch, heads, q, prefix + k)
        if stack is None:
            mass[path] = weights[..., :n_prefix].sum(-1)
            return
        soft = soft_positions(stack, weights.shape[-1] - n_prefix).to(weights.device)
        trained = torch.cat([soft.new_ones(n_prefix), soft])
        mass[path] = weights[..., trained].sum(-1)[..., ~soft]

    return hook


def mass_table(delta: Delta, points: Mapping[str, Tensor], batch: Mapping[str, Tensor], tokens: int) -> pd.DataFrame:
    """One row per stage, block, head and position: mean and spread over the texts of the mass on prefix or prompt.

    Args:
        delta: a prefix or a prompt, on attention that returns its weights.
        points: stage -> φ.
        batch: of texts.
        tokens: of the prefix or prompt.

    Returns:
        Columns stage, block, head, position, even (the mass if every key got the same), mass, spread.
    """
    even = float((tokens / (tokens + batch["attention_mask"].sum(1).double())).mean())
    rows = []
    for stage, phi in points.items():
        stacked = torch.stack(list(prefix_mass(delta, phi, batch).values())).double()  # (blocks, batch, heads, tokens)
        mean, spread = stacked.mean(1), stacked.std(1)
        rows += [
            {"stage": stage, "block": block, "head": head, "position": position, "even": even,
             "mass": float(mean[block, head, position]), "spread": float(spread[block, head, position])}
            for block, head, position in np.ndindex(*mean.shape)
        ]  # fmt: skip
    return pd.DataFrame(rows)
