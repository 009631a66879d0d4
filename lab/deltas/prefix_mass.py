"""λ(x): how much of each head's attention goes to a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lab.deltas.delta import Delta
from lab.deltas.prefixed_attention import prefixes_of, use_prefixes
from lab.models.graft import structural_copy


def prefix_mass(delta: Delta, phi: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Softmax mass on the prefix, λ(x) of He et al. 2022, eq. 7: head(x) = (1 − λ)·Attn(x; K, V) + λ·Attn(x; P_K, P_V).

    λ gates what a prefix can do at a token: where it is 0 the head runs as in the PLM.

    Args:
        delta: a delta whose host carries a prefix.
        phi: (d,).
        batch: as for `delta.logits`.

    Returns:
        Path of each attention module, by depth -> λ, shape (batch, heads, tokens), in (0, 1). With several prefixes,
        the mass on all of them.

    Raises:
        ValueError: no prefix is grafted on the delta's host.
    """
    model = structural_copy(delta.plm.model)
    carriers = {path: module for path, module in model.named_modules() if prefixes_of(module)}
    if not carriers:
        raise ValueError(f"no prefix is grafted on {delta.plm.name!r}; build the delta with Prefix(…).on(plm).")
    use_prefixes(model, eager=True)  # SDPA does not return its weights
    mass: dict[str, Tensor] = {}
    for path, module in carriers.items():
        n_tokens = sum(prefix.key.shape[0] for prefix in prefixes_of(module))
        module.register_forward_hook(_recorder(mass, path, n_tokens))

    def run(**inputs: Tensor) -> Any:
        return functional_call(model, delta.overrides(phi), (), inputs)

    with torch.no_grad():
        delta.plm.head.logits(run, batch)
    return mass


def _recorder(mass: dict[str, Tensor], path: str, n_tokens: int) -> Any:
    def hook(_module: nn.Module, _args: Any, output: tuple[Any, ...]) -> None:
        weights = output[-1]  # (batch, heads, q, prefix + k)
        mass[path] = weights[..., :n_tokens].sum(-1)

    return hook
