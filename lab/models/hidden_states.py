"""What enters the first block and what leaves each one: the hidden states of one forward pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from lab.models.graft import structural_copy
from lab.models.padding import from_the_end, right_padded
from lab.models.plm import PLM, Batch, Overrides


def hidden_states(plm: PLM, overrides: Overrides, batch: Batch) -> tuple[Tensor, ...]:
    """h_0, …, h_T: the input of the first block and the output of each block, (batch, seq, hidden), without a graph.

    On an encoder-decoder the decoder's blocks follow the encoder's, each with its own sequence length. Texts padded in
    front are moved to the left edge (`lab.models.padding.right_padded`), as the model sees them.

    Args:
        plm: runs on a structural copy, so that its own hooks stay as they are.
        overrides: as for `plm.logits`.
        batch: as for `plm.logits`.
    """
    host = replace(plm, model=structural_copy(plm.model))
    states: list[Tensor] = []

    def keep(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        states.append(tree_flatten(output)[0][0].detach())

    def keep_first(module: nn.Module, args: tuple) -> None:
        states.append(args[0].detach())

    names = plm.architecture.block_names(host.model)
    host.model.get_submodule(names[0]).register_forward_pre_hook(keep_first)
    for name in names:
        host.model.get_submodule(name).register_forward_hook(keep, with_kwargs=True)
    with torch.no_grad():
        host.logits(overrides, batch)
    return tuple(states)


def read_by_head(plm: PLM, states: Tensor, batch: Batch) -> Tensor:
    """States (…, batch, seq, hidden) at the position a classification head reads, (…, batch, hidden)."""
    position = head_position(plm, batch)
    rows = torch.arange(len(position), device=position.device)
    return states[..., rows, position, :]


def head_position(plm: PLM, batch: Batch) -> Tensor:
    """Where in the sequence a classification head reads, (batch,).

    Encoders: 0, the first token; others: the last token that is not padding, counted from the end (−1 is the last), so
    that soft tokens in front do not shift it. It is a position of `hidden_states`, which have the texts at the left.
    """
    mask = right_padded(batch).get("attention_mask", torch.ones_like(batch["input_ids"])).ne(0)
    return torch.zeros_like(mask[:, 0].long()) if plm.architecture.kind == "encoder" else -from_the_end(mask)


def pooled(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens that are no padding: (batch, seq, hidden) and (batch, seq) -> (batch, hidden).

    Grafts that add positions (soft prompts) make a state longer than the mask; the added positions come first and are
    left out. The states are those of `hidden_states`, with the texts at the left edge.

    Raises:
        ValueError: a state shorter than the mask, or an example without a token.
    """
    extra = states.shape[1] - mask.shape[1]
    if extra < 0 or not bool(mask.any(dim=1).all()):
        raise ValueError(
            f"pooling needs states at least as long as the mask, and a token in each example; got "
            f"{tuple(states.shape)} and {tuple(mask.shape)}."
        )
    weights = right_padded({"attention_mask": mask})["attention_mask"].to(states)[:, :, None]
    return (states[:, extra:] * weights).sum(dim=1) / weights.sum(dim=1)
